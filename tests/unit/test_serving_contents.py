"""The gate compares what folders hold: what was judged is prescribed to the server, and nothing else is served."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from kubetune.common.doubt import believed
from kubetune.lineage import Model
from kubetune.modeldeployment.gate import judge
from kubetune.modeldeployment.ledger import Release
from kubetune_contract import Contents, FailureSummary, FetchSummary, dumps
from tests.support.models import ARTIFACT, BASE, MANIFEST, deployment, evaluation, gated, judged
from tests.support.serving import World, condition, crashed

Object = dict[str, Any]

FIRST, SECOND = f"manifest:{'1' * 64}", f"manifest:{'2' * 64}"
BASE_CONTENT = f"files:{'b' * 64}"
BY_URI: Object = {"model": {"uri": BASE}, "requireVerdict": gated()}
COPY = "s3://elsewhere/adapter"


def of_folder(verdict: str = "Go", content: str | None = FIRST) -> Any:
    """An Evaluation of the folder BASE."""
    return judged(verdict, adapter_uri=None, content=content)


def prescribed(world: World) -> Object | None:
    """What the server's configuration says that the folders must hold."""
    assert world.seen.deployment is not None
    annotations = world.seen.deployment["spec"]["template"]["metadata"]["annotations"]
    found: Object | None = json.loads(annotations["kubetune.io/config"])["model"].get("contents")
    return found


JUDGEMENTS: list[tuple[str, Model, Object, str]] = [
    ("the same folder", Model(BASE), {"adapter_uri": None, "content": FIRST}, "Admitted"),
    ("another folder", Model("s3://models/other"), {"adapter_uri": None, "content": FIRST}, "EvaluationOfAnotherModel"),
    ("unknown content", Model(BASE), {"adapter_uri": None}, "EvaluationWithoutContent"),
    ("an unknown adapter", Model(BASE, COPY), {"adapter_uri": COPY, "content": FIRST}, "EvaluationWithoutContent"),
    (
        "the job's adapter",
        Model(BASE, ARTIFACT, MANIFEST),
        {"content": BASE_CONTENT, "adapterContent": f"manifest:{MANIFEST}"},
        "Admitted",
    ),
    (
        "a copy of the job's adapter",
        Model(BASE, ARTIFACT, MANIFEST),
        {"adapter_uri": COPY, "content": BASE_CONTENT, "adapterContent": f"manifest:{MANIFEST}"},
        "Admitted",
    ),
    (
        "the job's folder with another adapter in it",
        Model(BASE, ARTIFACT, MANIFEST),
        {"content": BASE_CONTENT, "adapterContent": SECOND},
        "EvaluationOfAnotherModel",
    ),
    ("a job's, by an older release", Model(BASE, ARTIFACT, MANIFEST), {}, "Admitted"),
]


@pytest.mark.parametrize(("situation", "model", "measured", "reason"), JUDGEMENTS, ids=[row[0] for row in JUDGEMENTS])
@pytest.mark.law("L3", "F3")
def test_contents_decide_where_they_are_known(situation: str, model: Model, measured: Object, reason: str) -> None:
    job = "demo" if model.manifest_sha256 else None
    answer = judge(Release(model, job=job), deployment(**BY_URI).spec.model, "demo", judged("Go", **measured))
    assert (answer.admitted, answer.reason) == (reason == "Admitted", reason), situation


def test_a_refusal_names_both_contents() -> None:
    measured = judged("Go", content=BASE_CONTENT, adapterContent=SECOND)
    model = Model(BASE, ARTIFACT, MANIFEST)
    answer = judge(Release(model, job="demo"), deployment().spec.model, "demo", measured)
    assert SECOND in answer.message
    assert f"manifest:{MANIFEST}" in answer.message


@pytest.mark.law("L3", "F3")
def test_what_was_judged_is_prescribed_to_the_server_and_shown() -> None:
    world = World(deployment(**BY_URI), judge=of_folder())
    status = world.step()
    assert prescribed(world) == {"model": FIRST}
    assert status.versions[0].content == FIRST
    job = World(deployment(requireVerdict=gated()), judge=judged(content=BASE_CONTENT))
    assert job.step().versions[0].adapter_content == f"manifest:{MANIFEST}"
    assert prescribed(job) == {"model": BASE_CONTENT, "adapter": f"manifest:{MANIFEST}"}


def test_a_job_s_result_is_prescribed_also_without_a_gate() -> None:
    world = World(deployment())
    world.step()
    assert prescribed(world) == {"adapter": f"manifest:{MANIFEST}"}
    free = World(deployment(model={"uri": BASE}))
    free.step()
    assert prescribed(free) is None


def test_the_cache_is_told_whether_it_outlives_the_pod() -> None:
    cases: list[tuple[Object, bool]] = [({}, False), ({"cache": {"claimName": "models"}}, True)]
    for spec, keeps in cases:
        world = World(deployment(**spec))
        world.observe(inputs=type(world.seen.inputs)(claims={"models": "Bound"}))
        world.step()
        assert world.seen.deployment is not None
        text = world.seen.deployment["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"]
        assert json.loads(text)["keepsCache"] is keeps


CHANGED = FailureSummary(1, "ContentChanged", f"{BASE} holds something else: {FIRST}, {SECOND}.", 81)


@pytest.mark.law("L3", "F3")
def test_an_overwritten_folder_is_told_with_both_contents() -> None:
    world = World(deployment(**BY_URI), judge=of_folder())
    world.step()
    world.observe(pods=(world.pod(init=crashed(81, dumps(CHANGED))),))
    status = world.step()
    assert (status.phase, condition(status, "Loaded")[:2]) == ("Failed", ("False", "ContentChanged"))
    assert FIRST in condition(status, "Ready")[2]
    assert SECOND in condition(status, "Ready")[2]


def _refused_after_another(**spec: Any) -> World:
    """One version serves, the next one is refused by the first pod that looks at its folder."""
    world = World(deployment(**BY_URI, **spec), judge=of_folder())
    world.step()
    world.serving()
    world.observe(evaluation=of_folder(content=SECOND))
    world.step()
    assert prescribed(world) == {"model": SECOND}
    world.observe(pods=(*world.seen.pods, world.pod("demo-2", init=crashed(81, dumps(CHANGED)))))
    world.step()
    return world


def test_the_version_before_comes_back_at_once() -> None:
    world = _refused_after_another(rollout="Recreate")
    assert prescribed(world) == {"model": FIRST}, "trying again cannot help"
    status = world.serving()
    assert (status.phase, condition(status, "Ready")[1]) == ("ServingPrevious", "ContentChanged")
    assert status.failure is not None
    assert "was refused" in status.failure.message
    world.spec(revision="again")
    world.step()
    assert prescribed(world) == {"model": SECOND}, "the files may have been put back"


def test_the_version_before_goes_on_serving_in_a_rolling_update() -> None:
    world = _refused_after_another()
    assert prescribed(world) == {"model": SECOND}
    assert (world.obj.status.phase, world.obj.status.ready) == ("ServingPrevious", "1/1")


@pytest.mark.parametrize("judge", [None, evaluation(), of_folder(content=None)])
@pytest.mark.law("L4")
def test_what_was_judged_outlives_its_evaluation(judge: Any) -> None:
    """Deleted, started again, or taken back to an older release: it says nothing of what the folder held."""
    world = World(deployment(**BY_URI), judge=of_folder())
    world.step()
    before = copy.deepcopy(world.seen.deployment)
    status = world.serving(evaluation=judge)
    assert (status.phase, condition(status, "Admitted")[0]) == ("Ready", "True")
    assert prescribed(world) == {"model": FIRST}
    assert world.seen.deployment is not None
    assert before is not None
    assert world.seen.deployment["spec"] == before["spec"]


def test_a_verdict_against_new_files_leaves_the_judged_ones_serving() -> None:
    world = World(deployment(**BY_URI), judge=of_folder())
    world.step()
    status = world.serving(evaluation=of_folder("NoGo", SECOND))
    assert (status.phase, condition(status, "Admitted")[1]) == ("ServingPrevious", "VerdictNoGo")
    assert [one.content for one in status.versions] == [FIRST, SECOND]
    assert prescribed(world) == {"model": FIRST}


def test_without_a_gate_the_pods_tell_what_they_serve() -> None:
    world = World(deployment(model={"uri": BASE}))
    world.step()
    said = dumps(FetchSummary(1, 1, 0, False, Contents(FIRST, "rm -rf")))
    told: Object = {"state": {"terminated": {"exitCode": 0, "message": said}}}
    world.observe(pods=(world.pod(ready=True, init=told, state={"running": {}}),))
    version = world.step().versions[0]
    assert (version.content, version.adapter_content) == (FIRST, None)


@pytest.mark.parametrize("said", ["", "manifest:", "manifest:xyz", f"{FIRST} ", f"sha:{'1' * 64}", "commit:1a2b"])
def test_only_contents_are_believed(said: str) -> None:
    assert believed(Contents(said, FIRST)) == Contents(None, FIRST)
