"""Deadlines over suspensions, grace to stop, attempts, and Kueue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubetune.common.decision import Decision, Ref, Stop
from kubetune.finetunejob.api import FineTuneJob, FineTuneJobStatus, PreflightStatus, Reason
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.job import stop_grace as grace
from kubetune.finetunejob.job.resources import build_train_job
from kubetune.finetunejob.observed import Observed, Wait
from kubetune.finetunejob.report import attempts
from kubetune.prices import GpuClass
from kubetune.runs.deadline import ACTIVE_SINCE, left_seconds, suspend_body, tracking_body, used_seconds
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune_contract import Suggestion, TrainProgress
from tests.support.objects import finetunejob, train_summary
from tests.support.observed import OWNER, job, pod

Object = dict[str, Any]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def custom(status: Object | None = None, **spec: Any) -> FineTuneJob:
    raw = finetunejob(namespace="ns", **spec)
    raw["metadata"] |= {"uid": OWNER, "generation": 1}
    return FineTuneJob.parse(raw | ({"status": status} if status else {}))


def judge(obj: FineTuneJob, observed: Observed, now: datetime = NOW, settings: Settings | None = None) -> Decision:
    return decide(obj, observed, now, settings or Settings())


def started(seconds: float, limit: int = 3600, **members: Any) -> Object:
    """A Job that has been active for so long."""
    made = job(activeDeadlineSeconds=limit, **members)
    made["status"]["startTime"] = ago(seconds)
    return made


def suspended(limit: int, seconds_ago: float = 0, noted: float | None = None) -> Object:
    """A Job suspended a while ago; ``noted`` is how long ago an annotation says it was started."""
    made = job(suspend=True, activeDeadlineSeconds=limit)
    made["status"]["conditions"] = [{"type": "Suspended", "status": "True", "lastTransitionTime": ago(seconds_ago)}]
    if noted is not None:
        made["metadata"]["annotations"] = {ACTIVE_SINCE: ago(noted)}
    return made


def alive(name: str = "p1", grace_seconds: int = 120, **members: Any) -> Object:
    made = pod(name, node="n1", started=True, ip="1.1.1.1", containers={"train": {"running": {}}}, **members)
    made["spec"]["terminationGracePeriodSeconds"] = grace_seconds
    return made


@pytest.mark.parametrize(
    ("child", "left", "used"),
    [
        (started(0), 3600, 0),
        (started(600), 3000, 600),
        (started(600, limit=3000), 2400, 1200),
        (started(9000), 1, 9000),
        (suspended(2400), 2400, 1200),
        (suspended(2400, seconds_ago=500, noted=800), 2400, 1500),
        (job(), None, None),
    ],
    ids=["new", "active", "resumed", "over", "suspended", "suspended by Kueue", "no deadline"],
)
def test_the_job_itself_tells_what_is_left(child: Object, left: int | None, used: int | None) -> None:
    assert left_seconds(child, NOW) == left
    assert used_seconds(child, 3600, NOW) == used


def test_suspending_lowers_the_deadline_in_the_same_patch() -> None:
    assert suspend_body(started(600), NOW) == {"spec": {"suspend": True, "activeDeadlineSeconds": 3000}}
    assert suspend_body(job(), NOW) == {"spec": {"suspend": True}}


def test_what_kueue_does_is_counted_once() -> None:
    begun = started(600)
    noted = tracking_body(begun)
    assert noted == {"metadata": {"annotations": {ACTIVE_SINCE: ago(600)}}}
    begun["metadata"]["annotations"] = {ACTIVE_SINCE: ago(600)}
    assert tracking_body(begun) is None
    taken = suspended(3600, seconds_ago=100, noted=600)
    assert tracking_body(taken) == {
        "metadata": {"annotations": {ACTIVE_SINCE: None}},
        "spec": {"activeDeadlineSeconds": 3100},
    }
    assert tracking_body(suspended(3100)) is None
    assert tracking_body(job()) is None


def test_a_deadline_over_a_suspension() -> None:
    spec: Object = {"activeDeadlineSeconds": 3600}
    running = judge(custom(**spec), Observed(JobObservation(started(1200), (alive(),)))).status
    stopped = judge(custom(running, suspend=True, **spec), Observed(JobObservation(started(1200), (alive(),))))
    assert [patch.body["spec"] for patch in stopped.patch] == [{"suspend": True, "activeDeadlineSeconds": 2400}]
    assert stopped.status["activeSeconds"] == 1200
    again = judge(custom(stopped.status, suspend=True, **spec), Observed(JobObservation(suspended(2400))))
    assert again.status["activeSeconds"] == 1200
    resumed = judge(custom(again.status, **spec), Observed(JobObservation(suspended(2400))))
    assert [patch.body for patch in resumed.patch] == [{"spec": {"suspend": False}}]
    over = job(final="Failed", reason="DeadlineExceeded", activeDeadlineSeconds=2400)
    failure = judge(custom(resumed.status, **spec), Observed(JobObservation(over))).status["failure"]
    assert failure["reason"] == "DeadlineExceeded"
    assert "active for 1h, 20m of it before it was last resumed," in failure["message"]
    assert "activeDeadlineSeconds (3600)" in failure["message"]


def test_a_job_made_anew_has_what_was_left() -> None:
    made = build_train_job(custom({"activeSeconds": 1200}, activeDeadlineSeconds=3600), Settings())
    assert made["spec"]["activeDeadlineSeconds"] == 2400


@pytest.mark.law("F23")
def test_a_job_deleted_while_it_ran_has_what_was_left_at_the_last_word() -> None:
    """Written together with the progress, so it costs nothing; and not by itself while there is no news."""
    spec: Object = {"activeDeadlineSeconds": 3600}
    said = TrainProgress("training", 5, 50, NOW.timestamp())
    observed = Observed(JobObservation(started(3000), (alive(),)), progress=said)
    shown = judge(custom(**spec), observed)
    assert shown.status["activeSeconds"] == 3000
    assert judge(custom(shown.status, **spec), observed, NOW + timedelta(minutes=5)).status == shown.status
    silent = Observed(JobObservation(started(3000), (alive(),)))
    assert judge(custom(shown.status, **spec), silent, NOW + timedelta(minutes=5)).status["activeSeconds"] == 3000
    (made,) = judge(custom(shown.status, **spec), Observed()).create
    assert made["spec"]["activeDeadlineSeconds"] == 600
    # What is left of the second Job counts on from there.
    later = Observed(JobObservation(started(100, limit=600), (alive("p2"),)), progress=replace(said, step=6))
    assert judge(custom(shown.status, **spec), later).status["activeSeconds"] == 3100
    assert "activeSeconds" not in judge(custom(), observed).status, "without a deadline there is nothing to count"


FIGURES: Object = {
    "fit": "Fits",
    "message": "",
    "trainRows": 1,
    "validationRows": 0,
    "datasetSHA256": "",
    "steps": 100,
    "tokensPerEpoch": 1,
}


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        (None, 120),
        ({}, 120),
        ({"checkpointBytes": 10**9, "uploadBytesPerSecond": 1e8}, 120),
        ({"checkpointBytes": 10**10, "uploadBytesPerSecond": 1e8}, 180),
        (
            {"checkpointBytes": 10**10, "uploadBytesPerSecond": 1e8, "seconds": {"low": 1, "estimate": 1, "high": 2e3}},
            210,
        ),
        ({"checkpointBytes": 10**12, "uploadBytesPerSecond": 1e6}, 1800),
    ],
)
def test_grace_of_a_new_pod(members: Object | None, seconds: int) -> None:
    figures = None if members is None else PreflightStatus.model_validate(FIGURES | members)
    assert grace.estimated(figures) == seconds
    made = build_train_job(custom(), Settings(), figures)
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds


SLOW = TrainProgress("training", 3, 9, NOW.timestamp(), step_seconds=20.0, checkpoint_seconds=200.0)


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, 120), (SLOW, 360), (replace(SLOW, checkpoint_seconds=float("inf")), 1800)]
)
def test_grace_by_what_was_measured(said: TrainProgress | None, seconds: int) -> None:
    assert grace.measured(said) == seconds


def test_a_pod_that_needs_longer_is_stopped_first() -> None:
    observed = Observed(JobObservation(started(60), (alive(), alive("p0", phase="Failed"))), progress=SLOW)
    decision = judge(custom(suspend=True), observed)
    assert decision.stop == (Stop(Ref("v1", "Pod", "ns", "p1"), grace_seconds=360),)
    assert [patch.body["spec"]["suspend"] for patch in decision.patch] == [True]
    enough = Observed(JobObservation(started(60), (alive(grace_seconds=360),)), progress=SLOW)
    assert judge(custom(suspend=True), enough).stop == ()
    assert judge(custom(), observed).stop == ()


WAIT = Wait(Reason.QUEUED, "1 of at most 1 trainings have a place.", 2, 30.0)


@pytest.mark.parametrize("child", [None, suspended(3600)], ids=["new", "to be resumed"])
def test_who_must_wait_is_queued(child: Object | None) -> None:
    observed = Observed(JobObservation(child), wait=WAIT)
    decision = judge(custom(), observed)
    assert (decision.create, decision.patch, decision.requeue_after) == ((), (), 30.0)
    assert decision.status["phase"] == "Queued"
    assert decision.status["queue"] == {"reason": "Queued", "position": 2, "message": WAIT.message}
    assert [(event.reason, event.warning) for event in decision.events] == [("Queued", False)]
    again = judge(custom(decision.status), observed, NOW + timedelta(hours=1))
    assert (again.status, again.events) == (decision.status, ())
    in_turn = judge(custom(decision.status), replace(observed, wait=None))
    assert "queue" not in in_turn.status
    assert in_turn.create or in_turn.patch


def test_over_the_budget_is_a_warning() -> None:
    decision = judge(custom(), Observed(wait=Wait(Reason.BUDGET_EXCEEDED, "The budget is spent.")))
    assert [(event.reason, event.warning) for event in decision.events] == [("BudgetExceeded", True)]
    assert decision.status["queue"] == {"reason": "BudgetExceeded", "message": "The budget is spent."}


def test_kueue_gets_a_suspended_job_with_its_queues_name() -> None:
    (made,) = judge(custom(queueName="team-a"), Observed()).create
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert made["spec"]["suspend"] is True
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert "kueue.x-k8s.io/queue-name" not in labels


@pytest.mark.parametrize("child", [job(suspend=True), job(), suspended(3600), started(60)])
def test_what_kueue_decides_is_left_alone(child: Object) -> None:
    decision = judge(custom(queueName="team-a"), Observed(JobObservation(child, ())))
    assert not any("suspend" in patch.body.get("spec", {}) for patch in decision.patch)
    assert (decision.stop, decision.delete) == ((), ())
    is_held = child["spec"]["suspend"]
    assert (decision.status["phase"] == "Queued") is is_held
    if is_held:
        assert "queue team-a" in decision.status["queue"]["message"]


def test_the_user_wins_over_kueue_by_taking_the_job_away() -> None:
    spec: Object = {"queueName": "team-a", "activeDeadlineSeconds": 3600}
    observed = Observed(JobObservation(started(600), (alive(),)), progress=SLOW)
    running = judge(custom(**spec), observed).status
    told = judge(custom(running, suspend=True, **spec), observed)
    assert (told.stop, told.patch, told.requeue_after) == ((), (), 0.0), "it is on record first"
    assert (told.status["phase"], told.status["activeSeconds"]) == ("Suspending", 600)
    done = judge(custom(told.status, suspend=True, **spec), observed)
    assert done.stop == (
        Stop(Ref("v1", "Pod", "ns", "p1"), grace_seconds=360),
        Stop(Ref("batch/v1", "Job", "ns", "demo-train")),
    )
    gone = judge(custom(done.status, suspend=True, **spec), Observed())
    assert (gone.create, gone.status["phase"], gone.status["activeSeconds"]) == ((), "Suspended", 600)
    (made,) = judge(custom(gone.status, **spec), Observed()).create
    assert (made["spec"]["suspend"], made["spec"]["activeDeadlineSeconds"]) == (True, 3000)


def test_suspended_from_the_start_kueue_gets_nothing() -> None:
    decision = judge(custom(queueName="team-a", suspend=True), Observed())
    assert (decision.create, decision.status["phase"]) == ((), "Suspended")


@pytest.mark.parametrize(
    ("old", "present", "counted", "expected"),
    [
        ({}, ["p1"], 1, 1),
        ({"attempts": 1, "pods": ["p1"]}, ["p1"], 1, 1),
        ({"attempts": 1, "pods": ["p1"]}, [], 0, 1),
        ({"attempts": 1, "pods": ["p1"]}, ["p2"], 1, 2),
        ({"attempts": 2, "pods": ["p1", "p2"]}, ["p2", "p3"], 2, 3),
        ({"attempts": 2}, ["p2"], 1, 2),
        ({}, ["p2"], 3, 3),
    ],
)
def test_every_pod_is_counted_once(old: Object, present: list[str], counted: int, expected: int) -> None:
    status = FineTuneJobStatus.model_validate(old)
    found = attempts.count(status, tuple(pod(name, started=True) for name in present), counted)
    assert found["attempts"] == expected
    later = FineTuneJobStatus(**found)
    assert attempts.count(later, tuple(pod(name, started=True) for name in present), counted) == found


def test_names_are_bounded() -> None:
    many = tuple(pod(f"p{index}", started=True) for index in range(200))
    assert len(attempts.count(FineTuneJobStatus(), many, 0)["pods"]) == 128


def test_a_pod_that_never_started_is_no_attempt() -> None:
    assert attempts.count(FineTuneJobStatus(), (pod(),), 0) == {"attempts": 0, "pods": None}


def test_a_suggestion_is_told_once() -> None:
    flat = replace(SLOW, suggestions=(Suggestion("FlatLoss", "The loss does not fall."),))
    observed = Observed(JobObservation(started(60), (alive(),)), progress=flat)
    first = judge(custom(), observed)
    assert [event.reason for event in first.events] == ["Running", "FlatLoss"]
    other = replace(flat, suggestions=(*flat.suggestions, Suggestion("SlowInput", "")), updated_at=flat.updated_at + 60)
    second = judge(custom(first.status), replace(observed, progress=other))
    assert [event.reason for event in second.events] == ["SlowInput"]
    assert judge(custom(second.status), replace(observed, progress=other)).events == ()


def test_cost_follows_the_progress_and_ends_with_the_summary() -> None:
    settings = Settings(gpu_classes=(GpuClass("NVIDIA-A100", price_per_hour=2.0),), currency="EUR")
    spec: Object = {"resources": {"gpu": 1}}
    said = replace(SLOW, active_seconds=1800.0)
    observed = Observed(JobObservation(started(60), (alive(),)), progress=said, product="NVIDIA-A100-40GB")
    status = judge(custom(**spec), observed, settings=settings).status
    assert (status["cost"]["amount"], status["cost"]["display"]) == (1.0, "1.00 EUR")
    soon = replace(
        observed, progress=replace(said, active_seconds=1801.0, updated_at=said.updated_at + 1), product=None
    )
    assert judge(custom(status, **spec), soon, settings=settings).status == status, "no write for a second more"
    state = {"terminated": {"exitCode": 0, "message": train_summary(activeSeconds=3600.0)}}
    done = pod("p1", phase="Succeeded", started=True, containers={"train": state})
    ended = Observed(JobObservation(job(final="Complete", succeeded=1), (done,)))
    final = judge(custom(status, **spec), ended, settings=settings).status
    assert (final["cost"]["amount"], final["cost"]["gpuSeconds"]) == (2.0, 3600.0)
    assert judge(custom(final, **spec), ended, settings=settings).status == final
