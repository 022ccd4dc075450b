"""The pages by themselves: links lead somewhere, every command has a rule, steps give commands as blocks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.points import Record

from .markdown import ROOT, Command, Fence, anchors, commands, fences, is_whole, links, name, pages, shell_commands
from .rules import SCRIPT, rule, without_comment
from .script import adapted, own_minutes, run, runnable

PAGES = pages()
COMMANDS = [command for path in PAGES for command in shell_commands(path)]
_COMMAND_WORDS = r"(kubectl|helm|make|python3|sudo|curl|docker|export|git)"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in links(text):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name(path)}: {target} does not exist"
        assert ROOT in found.parents or found == ROOT, f"{name(path)}: {target} leads out of the checkout"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{name(path)}: no heading for {target}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_stand_in_shell_blocks(path: Path) -> None:
    """A command in a block of no language, indented, or inside a numbered step would be checked by nobody."""
    text = path.read_text(encoding="utf-8")
    for fence in fences(name(path), text):
        if fence.language in {"", "text", "json", "yaml", "mermaid"}:
            assert (
                not re.search(rf"^\$? ?{_COMMAND_WORDS} [a-z./-]", fence.text, re.MULTILINE) or "NAME [" in fence.text
            ), f"{name(path)}:{fence.line}: give this block the language sh"
        assert not re.search(r"^\$ ", fence.text, re.MULTILINE), f"{name(path)}:{fence.line}: leave out the prompt"
    assert not re.search(rf"^\n    {_COMMAND_WORDS} ", text, re.MULTILINE), f"{name(path)}: an indented block"
    for step in re.findall(r"^\d+\. .*(?:\n   .*)*", text, re.MULTILINE):
        assert not re.search(rf"`{_COMMAND_WORDS} [^`]* [^`]*`", step.split("```")[0]), f"{name(path)}: {step[:60]}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_every_command_has_a_rule(command: Command) -> None:
    assert rule(command), (
        f"{command.place}: no rule says how `{command.first_line}` is checked: see tests/docs/rules.py"
    )


@pytest.mark.walk("W2")
@pytest.mark.parametrize("path", [*PAGES, ROOT / "charts/kubetune/templates/NOTES.txt"], ids=name)
def test_nobody_is_told_to_watch_several_kinds(path: Path) -> None:
    """kubectl watches one kind: neither the category nor a list of kinds."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.search(r"kubectl get \S+.* (-w|--watch)\b", line):
            assert not re.search(r"kubectl get (kubetune|all|\S+,\S+)\b.* (-w|--watch)\b", line), (
                f"{name(path)}: {line}"
            )


@pytest.mark.walk("C18")
@pytest.mark.parametrize("path", PAGES, ids=name)
def test_one_namespace_for_the_release(path: Path) -> None:
    """Two would make a second release beside the first."""
    for command in shell_commands(path):
        if (
            re.search(r"\bhelm (install|upgrade|test|uninstall)\b", command.text)
            and "device-plugin" not in command.text
        ):
            assert re.search(r" -n kubetune( |$)", command.text.replace("\n", " ")), command.place


@pytest.mark.walk("C19")
def test_data_of_the_docs_lies_in_the_bucket_that_the_chart_makes() -> None:
    for path in PAGES:
        for bucket in re.findall(r"s3://([a-z][a-z0-9-]+)/", path.read_text(encoding="utf-8")):
            assert bucket in {"kubetune", "bucket", "no-such-bucket"}, f"{name(path)}: s3://{bucket}/"


@pytest.mark.walk("C21")
@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_port_forward_names_its_namespace(path: Path) -> None:
    for command in shell_commands(path):
        if "port-forward" in command.text:
            assert re.search(r" -n \S+", command.text), f"{command.place}: {command.first_line}"


def test_what_is_one_command() -> None:
    lines = ["kubectl get x \\", "  -n y", "cat > f <<EOF", "a: $B", "EOF", "", "# remark", "curl -d '{", "  1}'"]
    text = "\n".join([*lines, "while read -r x; do", "  echo $x", "done < f"])
    found = [command.text.splitlines()[0] for command in commands(Fence("p", 1, "sh", text))]
    assert found == ["kubectl get x \\", "cat > f <<EOF", "curl -d '{", "while read -r x; do"]
    assert is_whole("a | b")
    assert not is_whole("a |")
    assert without_comment("make x   # why") == "make x"


def test_a_block_knows_its_mark() -> None:
    text = "<!-- not run: no GPU -->\n```sh\nnvidia-smi\n```\n\n1. step\n\n   ```sh\n   make x\n   ```\n"
    first, second = fences("p", text)
    assert (first.mark, first.text, second.mark, second.text) == ("not run: no GPU", "nvidia-smi", "", "make x")


def test_a_command_that_nobody_knows_is_found() -> None:
    assert rule(Command("p", 1, "frobnicate --all")) is None


def test_how_many_there_are(record_property: Record) -> None:
    """The count, by what is done with them."""
    count = Counter((rule(command) or pytest.fail(command.place)).how.split(":")[0] for command in COMMANDS)
    said = ", ".join(f"{number} {how}" for how, number in count.most_common())
    record_property("point", f"docs: {len(COMMANDS)} commands on {len(PAGES)} pages: {said}")
    assert sum(count.values()) == len(COMMANDS) > 50


def test_the_first_model_takes_ten_minutes_of_ones_own(record_property: Record) -> None:
    """Reading and pasting, by a rule that is written down (tests/docs/script.py); the waiting is measured on a node."""
    text = (ROOT / SCRIPT).read_text(encoding="utf-8")
    blocks = runnable(fences(SCRIPT, text))
    minutes = own_minutes(text, len(blocks))
    record_property("point", f"{SCRIPT}: {len(blocks)} blocks and {minutes:.1f} minutes of one's own time")
    assert len(blocks) > 10
    assert minutes <= 10


def test_what_a_script_does_differently_from_a_reader() -> None:
    text = "BASE=hf://a/b@main\nkubectl get ftj -n x -w\nkubectl port-forward -n x service/y 8000 &\nkubectl get ftj"
    lines = adapted(Fence("p", 1, "sh", text), {"BASE": "s3://c"}).splitlines()
    assert lines[0] == "BASE=s3://c"
    assert re.fullmatch(r"timeout \d+ kubectl get ftj -n x -w \|\| test \$\? = 124", lines[1])
    assert lines[2].endswith("8000 &")
    assert "/dev/tcp/127.0.0.1/8000" in lines[3]
    assert lines[4] == "kubectl get ftj"


def test_a_script_stops_at_the_first_block_that_fails(tmp_path: Path) -> None:
    blocks = [Fence("p", number, "sh", text) for number, text in enumerate(("echo a", "echo why; false", "touch late"))]
    with pytest.raises(AssertionError, match=r"p:1 (.|\n)*why"):
        run(blocks, {}, tmp_path, {})
    assert not (tmp_path / "late").exists()
    assert [step.text for step in run(blocks[:1], {}, tmp_path, {})] == ["a"]
    unended = Fence("p", 1, "sh", "printf '{}'")
    assert [step.text for step in run([unended, blocks[0]], {}, tmp_path, {})] == ["{}", "a"]
