"""The docs' commands against a real API server: as printed, or in a form that changes nothing."""

from __future__ import annotations

import io
import re
import runpy
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr

import pytest
import yaml

from images.build.__main__ import _parser as images_parser
from tests.cluster.__main__ import parser as cluster_parser
from tests.support.points import Record

from .conftest import Shell, yaml_blocks
from .markdown import ROOT, Command, comment_commands, is_whole, pages, shell_commands
from .rules import Check, rule

MANIFESTS = sorted((ROOT / "manifests").rglob("*.yaml"))
COMMANDS = [command for path in pages() for command in shell_commands(path)]
COMMANDS += [command for path in MANIFESTS for command in comment_commands(path)]
EXAMPLES = sorted((ROOT / "manifests/examples").rglob("*.yaml"))


def _tune(words: Sequence[str]) -> object:
    """The plugin's own parser; the plugin is a program, no module of a package."""
    namespace = runpy.run_path(str(ROOT / "manifests/plugin/kubectl_tune.py"), run_name="kubectl_tune")
    return namespace["parse"](words)


PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "images.build": lambda words: images_parser().parse_args(words),
    "tests.cluster": lambda words: cluster_parser().parse_args(words),
    "kubectl-tune": _tune,
}
KEYS = "objectStore.external.endpoint=https://s3.example.com"


def look(shell: Shell, check: Check) -> None:
    """Does what the check says. Raises AssertionError with the command's own words."""
    if check.parser:
        assert not parse_error(*check.parser)
    elif check.shell:
        done = shell.run(check.shell)
        # What the page makes may be there already; anything else is a mistake.
        good = done.returncode == 0 or re.search(r"\(AlreadyExists\)|already exists", done.stderr)
        assert good, f"{check.shell}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def parse_error(module: str, *words: str) -> str:
    """What the module's own parser says against the words; empty when it takes them."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            PARSERS[module](words)
    except SystemExit as error:
        return said.getvalue() if error.code else ""
    return ""


@pytest.mark.walk("W2")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_command(command: Command, shell: Shell, record_property: Record) -> None:
    """Every command of README, docs and manifests: run, tried, or not run for the reason that is printed."""
    check = rule(command)
    assert check
    look(shell, check)
    record_property("point", f"{command.place} {check.how}: {command.first_line}")


@pytest.mark.parametrize(("place", "text"), yaml_blocks(), ids=lambda value: value if len(value) < 60 else "")
def test_manifest_of_a_page(place: str, text: str, shell: Shell, record_property: Record) -> None:
    """As printed, in a namespace where its name is free."""
    shell.must("kubectl create -n team-b --dry-run=server -f -", text)
    record_property("point", f"{place} dry-run: its manifest by kubectl create --dry-run=server")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: object, shell: Shell) -> None:
    shell.must(f"kubectl create -n team-b --dry-run=server -f {path}")


@pytest.mark.walk("W2", "W3", "C1")
@pytest.mark.parametrize("settings", ["", f"--set {KEYS}"], ids=["store of the chart", "store of one's own"])
def test_what_the_chart_says_after_an_installation(settings: str, shell: Shell, record_property: Record) -> None:
    """Every command of NOTES.txt, with a namespace and keys put in where it says so."""
    said = shell.must(
        f"helm install notes charts/kubetune -n kubetune --set crds.install=false --dry-run=client {settings}"
    )
    notes = said.partition("\nNOTES:\n")[2]
    for text in notes_commands(notes):
        check = rule(Command("NOTES.txt", 1, text)) if not text.startswith("helm test") else Check("run on a node")
        assert check, text
        look(shell, check)
        record_property("point", f"NOTES.txt {check.how}: {text.splitlines()[0]}")
    assert "create configmap support-chats" in notes


def notes_commands(notes: str) -> list[str]:
    """The indented commands, with something in place of what the reader has to fill in."""
    filled = notes.replace("<namespace>", "team-b").replace("<id>", "id").replace("<key>", "key")
    found: list[str] = []
    kept: list[str] = []
    for line in textwrap.dedent(filled).splitlines():
        if not kept and not re.match(r"  (kubectl|helm) ", line):
            continue
        kept.append(line[2:])
        if is_whole("\n".join(kept)):
            found.append("\n".join(kept))
            kept = []
    assert not kept, kept
    return found


@pytest.mark.walk("W3")
def test_a_configmap_that_an_example_reads_is_made_first(shell: Shell) -> None:
    """README's fifth step and NOTES make what the manifest that they apply reads, of files that are in the checkout."""
    for text in ((ROOT / "README.md").read_text(), (ROOT / "charts/kubetune/templates/NOTES.txt").read_text()):
        applied = re.search(r"kubectl apply .*-f (manifests/examples/\S+)", text)
        assert applied
        needed = set(re.findall(r"configmap://([^/]+)/([\w.-]+)", (ROOT / applied[1]).read_text()))
        assert needed
        made = text[: applied.start()]
        for config_map, key in needed:
            assert re.search(rf"kubectl create configmap {config_map}\b", made), config_map
            assert re.search(rf"--from-file=manifests/examples/\S+/{re.escape(key)}", made), key
    for file in ("train", "test"):
        shell.must(f"test -s manifests/examples/support-chats/{file}.jsonl")


def test_commands_in_comments_are_found() -> None:
    found = [command.first_line for path in MANIFESTS for command in comment_commands(path)]
    assert "kubectl get localqueues" in found
    assert any(text.startswith("kubectl create secret generic kubetune-object-store -n kubetune ...") for text in found)


def test_a_mistake_is_noticed(shell: Shell) -> None:
    for text in (
        "kubectl get kubetune -n kubetune -w",
        "kubectl apply -n kubetune -f manifests/examples/no-such.yaml",
        "helm install kubetune charts/kubetune -n kubetune --set no.such=value",
        "make no-such-target",
        "python3 -m images.build import-k3d",
        "kubectl wait --for=condition=Finished ftj/no-such --timeout=8h",
        "manifests/plugin/kubectl-tune take evaluation/demo --output x",
    ):
        check = rule(Command("p", 1, text))
        assert check, text
        with pytest.raises(AssertionError):
            look(shell, check)


def test_the_examples_rows_are_what_the_page_says() -> None:
    folder = ROOT / "manifests/examples/support-chats"
    rows = {path.stem: path.read_text().splitlines() for path in folder.glob("*.jsonl")}
    questions = {name: {yaml.safe_load(row)["messages"][0]["content"] for row in found} for name, found in rows.items()}
    assert {name: len(found) for name, found in questions.items()} == {"train": 30, "test": 24, "more": 60}
    assert not questions["train"] & questions["more"]
    assert questions["test"] < questions["more"]
