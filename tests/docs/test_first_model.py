"""docs/first-model.md from its first command to its last, on a full node, with the blocks of others that need one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.environment import Environment, install, load_images, local_cluster
from tests.demo.seed import Seeder
from tests.demo.settings import read_settings
from tests.smallmodel.source import SMALL_MODEL
from tests.support.points import Record

from .conftest import checkout
from .markdown import ROOT, Fence, fences
from .rules import ON_NODE, SCRIPT
from .script import Step, own_minutes, run, runnable

CLUSTER = "docs"
KEEP = "KUBETUNE_DOCS_KEEP"
"""Set it to leave the cluster up for a look, and to find it again in the next run."""
NEW_SHELL = Fence("between", 0, "sh", "kill $(jobs -p); wait || true")
"""The reader of another page has not forwarded the ports yet."""
S3_CLIENT = Fence(
    "between", 0, "sh", 'my-model/venv/bin/pip install --quiet awscli\nPATH="$PWD/my-model/venv/bin:$PATH"'
)


def blocks(page: str, mark: str | None = None) -> list[Fence]:
    """Those of the page that are run."""
    return runnable(fences(page, (ROOT / page).read_text(encoding="utf-8")), mark)


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """A node of this machine's own with KubeTune installed and a base model in the store."""
    made = local_cluster(CLUSTER)
    try:
        assert made.local
        yield made
    finally:
        if made.local and not os.environ.get(KEEP):
            made.local.down()


@pytest.fixture(scope="module")
def base(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of the base model, once the chart is installed."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    assert environment.local
    values.write_text(load_images(environment.local))
    install(environment, [values])
    settings = read_settings(environment.kube)
    environment.kube.make_namespace("docs-seed")
    environment.kube.copy_secret(settings.secret, "kubetune", "docs-seed")
    seeder = Seeder(environment.kube, settings, "docs-seed", SMALL_MODEL)
    print(f"\nbase model: {seeder.run()}", flush=True)
    return f"{seeder.prefix}/base"


def step(steps: list[Step], words: str) -> Step:
    """The one block with these words."""
    (found,) = (one for one in steps if words in one.fence.text)
    return found


@pytest.mark.walk("W2", "W3", "W8", "C1", "C15", "C17", "C20", "C21", "S2", "Q1", "Q2", "Q4", "Q5", "Q8")
def test_the_first_model(environment: Environment, base: str, tmp_path: Path, record_property: Record) -> None:
    folder, page = checkout(tmp_path), blocks(SCRIPT)
    others = blocks("docs/install.md", ON_NODE)
    tidying = page[-1]
    assert "kubectl delete namespace" in tidying.text
    # Tidying comes last: what is listed as named by no object must not hold what the deployment still serves.
    script = [*page[:-1], NEW_SHELL, S3_CLIENT, *others, tidying]
    steps = run(script, {"BASE": base}, folder, environment.kube.env)
    for done in steps:
        if done.fence.page != "between":
            record_property("point", done.told())
    _check_results(steps, folder)
    _check_what_is_left(steps, folder)
    waited = sum(one.seconds for one in steps if one.waits and one.fence.page == SCRIPT)
    own = own_minutes((ROOT / SCRIPT).read_text(encoding="utf-8"), len(page))
    record_property(
        "point", f"{SCRIPT}: {len(page)} blocks, {waited / 60:.1f} min of waiting, {own:.1f} min of one's own"
    )
    record_property(
        "point", f"{SCRIPT}: the tests' small base, {base}, in place of the hub's: pods have no network here"
    )


def _check_results(steps: list[Step], folder: Path) -> None:
    trained = step(steps, "kubectl wait ftj/first").text
    assert re.search(r"^(Go|NoGo|Inconclusive): .+", trained, re.MULTILINE), trained
    report = (folder / "my-model/report/report.html").read_text()
    assert report.lower().startswith("<!doctype html>")
    assert re.search(r"\b(Go|NoGo|Inconclusive)\b", report)
    said = step(steps, "curl --silent http://localhost:8000/v1/chat")
    # Between kubectl's own words about the forwarded port.
    answer = json.loads(next(line for line in said.lines if line.startswith("{")))
    assert answer["model"] == "first"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    told = step(steps, "chat.py").text
    # What a small model says to one question is no promise: it may be nothing.
    assert re.search(r"^first:", told, re.MULTILINE), told
    assert re.search(r"^first-base:", told, re.MULTILINE), told
    assert "first-again" in step(steps, "kubectl patch mdep").text
    assert re.search(r"^kubetune_", step(steps, "localhost:8080/metrics").text, re.MULTILINE)


def _check_what_is_left(steps: list[Step], folder: Path) -> None:
    after = step(steps, "kubectl delete ftj first").text
    assert re.search(r"modeldeployment\S*/first\b", after), after
    assert "evaluation.kubetune.io/first-again" in after, after
    named = (folder / "named.yaml").read_text()
    unnamed = (folder / "unnamed.txt").read_text().split()
    assert any("/first/" in found for found in unnamed), "the deleted job's Evaluation left its report"
    kept = set((folder / "folders.txt").read_text().split()) - set(unnamed)
    assert any("/first-again/" in found for found in kept), "the Evaluation that stays keeps its report"
    assert not any(Path(found).name in named for found in unnamed)
    served = re.search(r"adapterUri: s3://kubetune/(\S+)", named)
    assert served, "the deployment names what it serves"
    assert not any(served[1].startswith(found) for found in unnamed)
    assert step(steps, "aws s3 rm").text.count("delete: ") >= len(unnamed)
