"""Whatever a pod, an Event or another release says, the object's reconcile goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.common.doubt import attempt, clip, read
from kubetune.common.job_status import Failure
from kubetune.evaluation.api import Evaluation
from kubetune.evaluation.decide import Observed as EvaluationObserved
from kubetune.evaluation.decide import decide as decide_evaluation
from kubetune.finetunejob.api import FineTuneJob, FineTuneJobStatus
from kubetune.kube.errors import ApiError
from kubetune.lineage import Obstacle, Unresolved, read_reference, resolve
from kubetune.runs.read import JobObservation
from kubetune.runtime.status_write import over, smaller
from kubetune.settings import Settings
from kubetune_contract import EvalProgress, TrainProgress, TrainSummary
from tests.support import models
from tests.support.objects import train_summary
from tests.support.observed import job, pod
from tests.support.situations import NOW, checking, condition, custom, judge, running, succeeded

Object = dict[str, Any]

ODD = [0, -1, 1e300, float("inf"), float("nan"), "", "x" * 5000, "\U0001f600", None, True, [], {}, [[]] * 3]
"""What a figure, a word or a list may be in place of what it should be."""


def failing(message: str, code: int = 70) -> Object:
    """A pod that has failed with this as its last word."""
    state = {"terminated": {"exitCode": code, "message": message}}
    return pod(phase="Failed", started=True, containers={"train": state})


def spoiled(text: str) -> st.SearchStrategy[str]:
    """``text``, an object in JSON, with one member on any level in place of another value, or left out."""
    whole = json.loads(text)

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(deeper for key, one in inner for deeper in places(one, (*path, key)))]

    def spoil(chosen: tuple[tuple[Any, ...], Any]) -> str:
        path, odd = chosen
        copy = json.loads(text)
        at = copy
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = odd
        return json.dumps(copy)

    return st.tuples(st.sampled_from([one for one in places(whole) if one]), st.sampled_from(ODD)).map(spoil)


@pytest.mark.law("L8", "F10")
@given(spoiled(train_summary()))
@settings(max_examples=300, deadline=None)
def test_no_summary_of_a_training_stops_it(message: str) -> None:
    status = judge(custom(preflight={"fit": "Skip"}), succeeded(message)).status
    FineTuneJobStatus.model_validate(status)
    assert status["phase"] in {"Succeeded", "Failed"}
    assert ("artifact" in status) == (status["phase"] == "Succeeded")


@pytest.mark.law("L8", "F10")
@pytest.mark.parametrize(
    "members",
    [
        {"mlflowRunId": "r" * 65},
        {"modelVersion": "v" * 513},
        {"durationSeconds": 1e300},
        {"steps": -1},
        {"activeSeconds": -5.0},
        {"recovery": [{"at": 1e300, "reason": "OutOfMemory", "message": "", "step": 1}]},
    ],
)
def test_a_figure_that_cannot_be_does_not_cost_the_training(members: Object) -> None:
    said = json.dumps(json.loads(train_summary()) | members)
    status = judge(custom(preflight={"fit": "Skip"}), succeeded(said)).status
    assert (status["phase"], "artifact" in status) == ("Succeeded", True)
    assert "mlflowRunID" not in status or len(status["mlflowRunID"]) <= 64


@pytest.mark.law("L8", "F10")
@given(st.sampled_from(["reason", "message", "code"]), st.sampled_from(ODD))
@settings(max_examples=50, deadline=None)
def test_no_last_word_of_a_failed_pod_stops_it(member: str, odd: Any) -> None:
    said = {"schema": 1, "code": 70, "reason": "Bug", "message": "boom"} | {member: odd}
    dead = failing(json.dumps(said))
    for observation in (
        JobObservation(job(failed=1), (dead,)),
        JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=1), (dead,)),
    ):
        status = judge(custom(preflight={"fit": "Skip"}), running().__class__(observation)).status
        FineTuneJobStatus.model_validate(status)
        assert status["failure"]["reason"]


@pytest.mark.law("L8", "F10")
@given(st.dictionaries(st.sampled_from(["updated_at", "step", "loss", "eta_seconds", "total_steps"]), st.floats()))
@settings(max_examples=200, deadline=None)
def test_no_progress_of_a_training_stops_it(figures: dict[str, float]) -> None:
    known = {name: int(value) if name == "step" and abs(value) < 1e9 else value for name, value in figures.items()}
    status = judge(custom({"phase": "Running"}, preflight={"fit": "Skip"}), running(**known)).status
    assert status["phase"] == "Running"


@pytest.mark.law("L8", "F10")
@pytest.mark.parametrize(
    "figures",
    [
        {"done": -1, "total": 5, "model": "m", "updated_at": 0.0},
        {"done": 1, "total": 5, "model": "m", "updated_at": 1e300},
        {"done": 1, "total": 5, "model": "m", "updated_at": float("inf")},
        {"done": 1, "total": 5, "model": "m" * 300, "updated_at": 0.0},
    ],
)
def test_no_progress_of_an_evaluation_stops_it(figures: Object) -> None:
    obj = models.evaluation()
    child = job("demo-evaluate")
    child["metadata"]["ownerReferences"][0]["uid"] = obj.metadata.uid
    child["spec"]["template"] = {"metadata": {}, "spec": {}}
    alive = pod(node="n1", started=True, ip="1.1.1.1", containers={"evaluate": {"running": {}}})
    observed = EvaluationObserved(JobObservation(child, (alive,)), progress=EvalProgress(phase="evaluating", **figures))
    status = decide_evaluation(obj, observed, NOW, Settings()).status
    assert status["phase"] == "Running"
    assert "progress" not in status


@pytest.mark.law("L8", "F10")
def test_no_summary_of_a_preflight_stops_it() -> None:
    state = {"terminated": {"exitCode": 0, "message": "[" * 100_000}}
    done = checking(phase="Succeeded", started=True, containers={"preflight": state})
    run = job("demo-preflight", final="Complete", succeeded=1)
    observed = done.__class__(preflight=JobObservation(run, done.preflight.pods))
    assert condition(judge(custom(preflight={"fit": "Require"}), observed), "Preflighted")["reason"] == "ResultLost"


@pytest.mark.parametrize("text", [None, "", "no JSON", "[]", "null", "1e999", '{"step": 1}', "[" * 100_000, "\ud83d"])
def test_what_is_no_answer_is_none(text: str | None) -> None:
    assert read(TrainProgress, text) is None
    assert read(TrainSummary, text) is None


def test_what_can_be_read_is() -> None:
    assert read(TrainSummary, train_summary()) is not None
    assert attempt(int, "7") == 7
    assert attempt(lambda figure: 1 / figure, 0) is None
    assert (clip("abcd", 4), clip("abcde", 4)) == ("abcd", "abc…")


# Statuses of other releases.


@pytest.mark.law("L9", "F11")
def test_a_status_of_a_newer_release_is_read_as_far_as_it_goes() -> None:
    conditions = [
        {"type": "Running", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": models.TIME},
        {"type": "Cooled", "status": "Maybe", "reason": "Ice", "message": "", "lastTransitionTime": models.TIME},
    ]
    raw = models.custom("FineTuneJob", "demo", {"baseModel": {"uri": "s3://m/t"}, "dataset": {"uri": "s3://d/t"}})
    raw["status"] = {
        "phase": "Cooling",
        "conditions": conditions,
        "attempts": 2,
        "progress": {"step": "many"},
        "ice": {"deep": True},
    }
    status = FineTuneJob.parse(raw).status
    assert (status.phase, status.attempts, status.progress) == (None, 2, None)
    assert [one.type for one in status.conditions] == ["Running"]
    assert FineTuneJob.parse(raw | {"status": "odd"}).status == FineTuneJobStatus()


@pytest.mark.law("L9", "F11")
@given(
    st.dictionaries(
        st.sampled_from(["phase", "conditions", "attempts", "artifact", "completionTime", "verdict", "ice"]),
        st.sampled_from(ODD),
    )
)
def test_no_status_is_unreadable(status: Object) -> None:
    for kind, raw in (
        (FineTuneJob, models.custom("FineTuneJob", "demo", models.finished_job().spec.to_dict())),
        (Evaluation, models.custom("Evaluation", "demo", models.evaluation().spec.to_dict())),
    ):
        kind.parse(raw | {"status": status})


@pytest.mark.law("L9")
def test_a_finished_object_keeps_what_only_another_release_knows() -> None:
    stored = {"completionTime": "t", "phase": "Frozen", "ice": 1, "attempts": 1}
    assert over(stored, {"completionTime": "t", "attempts": 2}) == stored | {"attempts": 2}
    assert over({"phase": "Running", "ice": 1}, {"phase": "Failed"}) == {"phase": "Failed"}
    assert over(None, {"phase": "Failed"}) == {"phase": "Failed"}


@pytest.mark.law("L9", "F11")
def test_a_reference_that_cannot_be_read_is_told() -> None:
    raw = models.custom("FineTuneJob", "demo", {"method": "osmosis"})
    found = resolve(models.evaluation().spec.candidate, {"demo": read_reference(raw)})
    assert isinstance(found, Unresolved)
    assert found.obstacle is Obstacle.UNREADABLE
    assert "does not fit this operator's API" in found.message
    refused = decide_evaluation(
        models.evaluation(), EvaluationObserved(jobs={"demo": read_reference(raw)}), NOW, Settings()
    )
    reasons = {one["type"]: one["reason"] for one in refused.status["conditions"]}
    assert reasons["Accepted"] == "InvalidSpec"
    assert not refused.create


# Statuses that the API server does not take.


@pytest.mark.law("L7")
def test_a_refused_status_becomes_a_smaller_one() -> None:
    text = {"type": "Ready", "status": "True", "reason": "R", "message": "\U0001f600" + "x" * 900}
    whole = {"phase": "Running", "progress": {"loss": 1}, "results": {}, "conditions": [text]}
    left = smaller(
        whole, 'FineTuneJob "x" is invalid: status.progress.loss: Invalid value, status.results.steps: Required'
    )
    assert left == {"phase": "Running", "conditions": [text]}
    least = smaller(left, "failed to create typed patch object")
    assert least["phase"] == "Running"
    assert least["conditions"][0]["message"] == "?" + "x" * 511
    assert smaller(least, "once more") == least


# What the seams between parts have to hold.


@pytest.mark.law("L7")
def test_a_status_that_the_schema_does_not_know_is_a_refusal_too() -> None:
    """The API server answers a server-side apply of a wrong type, or of an unknown member, with 500."""
    text = "failed to create typed patch object (ns/demo; kubetune.io/v1alpha1, Kind=FineTuneJob): .status.results.n: x"
    error = ApiError(500, "", text)
    assert error.is_invalid
    assert not error.is_transient
    assert ApiError(500, "InternalError", "etcd is away").is_transient
    assert "results" not in smaller({"phase": "Succeeded", "results": {"n": "x"}}, text)


@pytest.mark.law("L7")
def test_without_its_result_it_has_not_ended() -> None:
    whole = {"phase": "Succeeded", "completionTime": "t", "artifact": {"bytes": -1}, "conditions": []}
    assert smaller(whole, "status.artifact.bytes: Invalid value") == {"phase": "Succeeded", "conditions": []}
    assert smaller(whole, "no")["artifact"] == {"bytes": -1}


@pytest.mark.law("L8", "F10")
@pytest.mark.parametrize("member", ["durationSeconds", "trainLoss", "activeSeconds"])
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e308])
def test_figures_that_json_has_no_word_for_reach_no_status(member: str, odd: float) -> None:
    said = json.dumps(json.loads(train_summary()) | {member: odd})
    status = judge(custom(preflight={"fit": "Skip"}, resources={"gpu": 8}), succeeded(said)).status
    json.dumps(status, allow_nan=False)
    assert "artifact" in status


@pytest.mark.law("L8", "F10")
def test_a_failure_is_cut_to_what_the_schema_takes() -> None:
    failure = Failure(reason="R" * 300, message="m" * 5000)
    assert (len(failure.reason), len(failure.message)) == (256, 4096)
