"""The behaviour of a FineTuneJob: what is read -> what is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.common.decision import Decision
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.decide import Observed, decide
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs
from kubetune.workload.run import JobObservation
from kubetune_contract import TrainProgress
from tests.support.objects import EVALUATION, failure_summary, finetunejob, train_summary
from tests.support.observed import OWNER, job, pod, waiting

Object = dict[str, Any]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SETTINGS = Settings()


def custom(status: Object | None = None, **spec: Any) -> FineTuneJob:
    raw = finetunejob(namespace="ns", **spec)
    raw["metadata"] |= {"uid": OWNER, "generation": 1}
    return FineTuneJob.parse(raw | ({"status": status} if status else {}))


def judge(obj: FineTuneJob, observed: Observed | None = None, now: datetime = NOW) -> Decision:
    return decide(obj, observed or Observed(), now, SETTINGS)


def condition(decision: Decision, type_: str) -> Object:
    found: Object = next(c for c in decision.status["conditions"] if c["type"] == type_)
    return found


def running(**progress: Any) -> Observed:
    alive = pod(node="n1", started=True, ip="1.1.1.1", containers={"train": {"running": {}}})
    said = TrainProgress(phase="training", step=31, total_steps=50, updated_at=NOW.timestamp())
    return Observed(JobObservation(job(), (alive,)), progress=replace(said, **progress) if progress else None)


def succeeded(message: str | None = None, **more: Any) -> Observed:
    state = {"terminated": {"exitCode": 0, "message": train_summary() if message is None else message}}
    done = pod(phase="Succeeded", started=True, containers={"train": state})
    return Observed(JobObservation(job(final="Complete", succeeded=1), (done,)), **more)


def failed(code: int = 65) -> Observed:
    state = {"terminated": {"exitCode": code, "message": failure_summary(code, "MalformedRow", "line 17")}}
    dead = pod(phase="Failed", started=True, containers={"train": state})
    return Observed(JobObservation(job(final="Failed", reason="PodFailurePolicy", failed=1), (dead,)))


SITUATIONS = {
    "nothing yet": Observed(),
    "job without pod": Observed(JobObservation(job())),
    "blank pod": Observed(JobObservation(job(), (pod(),))),
    "stuck": Observed(JobObservation(job(), (pod(node="n", containers={"train": waiting("ErrImagePull", "no")}),))),
    "running": running(),
    "running and telling": running(loss=1.5, eta_seconds=720.0),
    "suspended": Observed(JobObservation(job(suspend=True))),
    "failed": failed(),
    "succeeded": succeeded(),
    "result lost": succeeded("nonsense"),
    "foreign job": Observed(JobObservation(job() | {"metadata": {"name": "demo-train", "uid": "x"}})),
}


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("evaluation", [None, EVALUATION])
def test_feeding_the_result_back_changes_nothing(name: str, evaluation: Object | None) -> None:
    spec = {"evaluation": evaluation} if evaluation else {}
    first = judge(custom(**spec), SITUATIONS[name])
    second = judge(custom(first.status, **spec), SITUATIONS[name], NOW + timedelta(hours=1))
    assert second.status == first.status
    assert second.events == ()


@given(st.lists(st.sampled_from(sorted(SITUATIONS)), min_size=1, max_size=6))
def test_any_history_leads_to_the_same_place(names: list[str]) -> None:
    """Level-triggered: unless it has ended, only the last situation counts, however it came about."""
    status: Object | None = None
    last = names[0]
    for last in names:
        status = judge(custom(status), SITUATIONS[last]).status
        if "completionTime" in status:
            break
    alone = judge(custom(), SITUATIONS[last]).status
    assert status is not None
    assert status["phase"] == alone["phase"]
    reasons = {c["type"]: c["reason"] for c in status["conditions"]}
    assert reasons == {c["type"]: c["reason"] for c in alone["conditions"]}


def test_starts_with_one_create_and_no_event() -> None:
    decision = judge(custom())
    assert [obj["kind"] for obj in decision.create] == ["Job"]
    assert (decision.events, decision.apply, decision.delete, decision.requeue_after) == ((), (), (), None)
    assert decision.status["phase"] == "Pending"
    assert decision.status["observedGeneration"] == 1


def test_a_job_deleted_mid_run_is_created_again() -> None:
    status = judge(custom(), running()).status
    decision = judge(custom(status))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-train"]
    assert decision.status["phase"] == "Pending"


@pytest.mark.parametrize("observed", [succeeded(), failed()], ids=["succeeded", "failed"])
def test_what_has_ended_stays_ended(observed: Observed) -> None:
    status = judge(custom(), observed).status
    decision = judge(custom(status))
    assert (decision.create, decision.status) == ((), status)


@pytest.mark.parametrize(
    ("spec", "inputs", "reason"),
    [
        ({"baseModel": {"uri": "pvc://models/tiny"}}, Inputs(claims={"models": None}), "ClaimNotFound"),
        ({"baseModel": {"uri": "pvc://models/tiny"}}, Inputs(claims={"models": "Lost"}), "ClaimNotFound"),
        ({"dataset": {"uri": "configmap://rows/a"}}, Inputs(config_maps={"rows": None}), "ConfigMapNotFound"),
        ({"dataset": {"uri": "configmap://rows/a"}}, Inputs(config_maps={"rows": frozenset("b")}), "ConfigMapNotFound"),
        ({"baseModel": {"uri": "ftp://x/y"}}, Inputs(), "InvalidSpec"),
    ],
)
def test_nothing_is_started_while_an_input_is_missing(spec: Object, inputs: Inputs, reason: str) -> None:
    decision = judge(custom(**spec), Observed(inputs=inputs))
    assert decision.create == ()
    assert (condition(decision, "Accepted")["status"], condition(decision, "Accepted")["reason"]) == ("False", reason)
    assert decision.requeue_after
    assert [event.reason for event in decision.events] == [reason]


@pytest.mark.parametrize("phase", ["Pending", "Bound"])
def test_a_claim_need_not_be_bound_yet(phase: str) -> None:
    spec = {"baseModel": {"uri": "pvc://models/tiny"}}
    assert judge(custom(**spec), Observed(inputs=Inputs(claims={"models": phase}))).create


def test_a_foreign_job_is_not_touched() -> None:
    decision = judge(custom(suspend=True), SITUATIONS["foreign job"])
    assert (decision.create, decision.patch, decision.delete) == ((), (), ())
    assert condition(decision, "Accepted")["reason"] == "NameConflict"


@pytest.mark.parametrize(("wanted", "is_so"), [(True, False), (False, True)])
def test_suspend_is_passed_on(wanted: bool, is_so: bool) -> None:
    decision = judge(custom(suspend=wanted), Observed(JobObservation(job(suspend=is_so))))
    assert [patch.body for patch in decision.patch] == [{"spec": {"suspend": wanted}}]
    assert judge(custom(suspend=wanted), Observed(JobObservation(job(suspend=wanted)))).patch == ()


def test_progress_is_shown_for_people_and_programs() -> None:
    decision = judge(custom(), running(loss=1.5, eta_seconds=720.0, learning_rate=float("nan")))
    progress = decision.status["progress"]
    assert (progress["display"], progress["eta"], progress["percent"]) == ("62% 31/50", "12m", 62)
    assert (progress["loss"], progress["etaSeconds"]) == (1.5, 720)
    assert "learningRate" not in progress, "JSON has no NaN"
    assert decision.requeue_after == SETTINGS.poll_seconds


@pytest.mark.parametrize(("age", "step", "is_written"), [(5, 40, False), (10, 40, True), (5, 3, True)])
def test_progress_alone_is_written_now_and_then(age: float, step: int, is_written: bool) -> None:
    status = judge(custom(), running(loss=1.5)).status
    later = running(step=step, updated_at=NOW.timestamp() + age)
    assert (judge(custom(status), later).status != status) is is_written


def test_a_pod_that_does_not_answer_keeps_its_progress() -> None:
    status = judge(custom(), running(loss=1.5)).status
    assert judge(custom(status), running()).status == status


def test_success_records_everything() -> None:
    decision = judge(custom(), succeeded())
    status = decision.status
    assert status["artifact"]["manifestSHA256"] == "ab" * 32
    assert status["results"]["trainRows"] == 100
    assert status["mlflowRunID"] == "run-1"
    assert status["progress"]["display"] == "100% 50/50"
    assert status["completionTime"]
    assert [event.reason for event in decision.events] == ["Completed"]


def test_success_creates_the_evaluation_where_the_job_ran() -> None:
    spec = {"evaluation": EVALUATION, "resources": {"gpu": 1}, "nodeSelector": {"gpu": "big"}}
    decision = judge(custom(**spec), succeeded())
    (evaluation,) = decision.create
    assert (evaluation["kind"], evaluation["metadata"]["name"]) == ("Evaluation", "demo")
    assert evaluation["metadata"]["ownerReferences"][0]["uid"] == OWNER
    assert evaluation["spec"]["resources"]["gpu"] == 1
    assert evaluation["spec"]["nodeSelector"] == {"gpu": "big"}
    assert evaluation["spec"]["candidate"] == {"fineTuneJobRef": {"name": "demo"}}
    assert decision.status["evaluationRef"] == {"name": "demo"}


def test_an_evaluation_of_ours_is_not_created_twice() -> None:
    live = {"metadata": job()["metadata"]}
    decision = judge(custom(evaluation=EVALUATION), succeeded(evaluation=live))
    assert (decision.create, decision.status["evaluationRef"]) == ((), {"name": "demo"})


def test_a_foreign_evaluation_is_waited_for() -> None:
    live = {"metadata": {"name": "demo"}}
    decision = judge(custom(evaluation=EVALUATION), succeeded(evaluation=live))
    assert decision.create == ()
    assert "evaluationRef" not in decision.status
    assert "delete or rename" in condition(decision, "Succeeded")["message"]
    later = judge(custom(decision.status, evaluation=EVALUATION), Observed())
    assert [obj["kind"] for obj in later.create] == ["Evaluation"]
    assert later.status["evaluationRef"] == {"name": "demo"}


def test_a_lost_result_is_no_success() -> None:
    decision = judge(custom(), succeeded("nonsense"))
    assert decision.status["phase"] == "Failed"
    assert decision.status["failure"]["reason"] == "ResultLost"
    assert f"/finetunejobs/ns/demo/{OWNER}/adapter" in decision.status["failure"]["message"]


def test_transition_times_move_with_the_status_only() -> None:
    first = judge(custom()).status
    later = judge(custom(first), running(), NOW + timedelta(minutes=5))
    assert condition(later, "Accepted")["lastTransitionTime"] == "2026-01-02T00:00:00Z"
    assert condition(later, "Running")["lastTransitionTime"] == "2026-01-02T00:05:00Z"
