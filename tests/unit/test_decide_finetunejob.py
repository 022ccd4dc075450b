"""The behaviour of a FineTuneJob: what is read -> what is written."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.common.decision import Decision
from kubetune.finetunejob.api.status_types import MemoryEstimate, PreflightStatus, RecoveryStatus
from kubetune.finetunejob.observed import Observed
from kubetune.finetunejob.report.progress import is_worth_a_write, recorded_live
from kubetune.finetunejob.report.stages import STAGES
from kubetune.kube.errors import ApiError
from kubetune.runs.decide import CONFLICT_SECONDS
from kubetune.runs.read import JobObservation
from kubetune.runtime.refusal import refuse_by_server
from kubetune.workload.inputs import Inputs
from kubetune_contract import MemoryEstimate as ContractEstimate
from kubetune_contract import PreflightSummary, RecoveryStep, Suggestion
from tests.support.objects import EVALUATION, preflight_summary, train_summary
from tests.support.observed import OWNER, TIME, job
from tests.support.situations import (
    NOW,
    SETTINGS,
    SITUATIONS,
    checked,
    condition,
    custom,
    failed,
    judge,
    running,
    succeeded,
)

Object = dict[str, Any]


CHECKS = [name for name, observed in SITUATIONS.items() if observed.preflight.job]
"""Situations of the preflight; the others are the training's."""
OPEN = ["nothing yet", "checking", "check is stuck", "check is suspended"]
"""Those that decide nothing for good."""


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("fit", ["Require", "Warn", "Skip"])
@pytest.mark.parametrize("evaluation", [None, EVALUATION])
def test_feeding_the_result_back_changes_nothing(name: str, fit: str, evaluation: Object | None) -> None:
    spec: Object = {"preflight": {"fit": fit}} | ({"evaluation": evaluation} if evaluation else {})
    first = judge(custom(**spec), SITUATIONS[name])
    if first.status["phase"] == "Succeeded" and evaluation:
        first = judge(custom(first.status, **spec), SITUATIONS[name])
    second = judge(custom(first.status, **spec), SITUATIONS[name], NOW + timedelta(hours=1))
    assert second.status == first.status
    assert second.events == ()


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(SITUATIONS.keys() - set(CHECKS))), min_size=1, max_size=6))
def test_any_history_leads_to_the_same_place(names: list[str]) -> None:
    """Level-triggered: unless it has ended, only the last situation counts, however it came about."""
    assert_only_the_last_counts(names, "Skip")


@settings(deadline=None)
@given(st.lists(st.sampled_from(OPEN), max_size=6), st.sampled_from([*OPEN, *CHECKS]))
def test_any_history_of_checks_leads_to_the_same_place(names: list[str], last: str) -> None:
    assert_only_the_last_counts([*names, last], "Require")


@pytest.mark.law("L2", "F7")
@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(SITUATIONS)), min_size=2, max_size=6), st.lists(st.booleans(), min_size=6))
def test_what_was_measured_once_stays_on_show(names: list[str], suspended: list[bool]) -> None:
    """Through suspension, queue, failure and loss; only a place in line goes."""
    status: Object = {"cost": {"activeSeconds": 60, "gpuSeconds": 0, "reportedSeconds": 60}}
    status |= {"progress": {"step": 31, "totalSteps": 50, "percent": 62, "loss": 1.5, "lastCheckpoint": 30}}
    for name, suspend in zip(names, suspended, strict=False):
        new = judge(custom(status, preflight={"fit": "Skip"}, suspend=suspend), SITUATIONS[name]).status
        assert status.keys() - {"failure", "queue"} <= new.keys()
        assert new["progress"]["step"] >= 30
        if "completionTime" in new:
            break
        status = new


def assert_only_the_last_counts(names: list[str], fit: str) -> None:
    spec = {"preflight": {"fit": fit}}
    status: Object | None = None
    last = names[0]
    for last in names:
        status = judge(custom(status, **spec), SITUATIONS[last]).status
        if "completionTime" in status:
            break
    alone = judge(custom(**spec), SITUATIONS[last]).status
    assert status is not None
    assert status["phase"] == alone["phase"]
    assert reasons_of(status) == reasons_of(alone)


def reasons_of(status: Object) -> dict[str, str]:
    """A pod that gives no answer is still doing what it said before: that is told by the status alone."""
    doing = {str(stage.reason): "Running" for stage in STAGES.values()}
    return {c["type"]: doing.get(c["reason"], c["reason"]) for c in status["conditions"]}


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


SUSPENDED = [{"type": "Suspended", "status": "True", "reason": "JobSuspended", "lastTransitionTime": TIME}]


@pytest.mark.parametrize("fit", ["Skip", "Require"])
@pytest.mark.parametrize("spec", [{"suspend": True}, {"queueName": "gpus"}], ids=["by its user", "for Kueue"])
def test_what_begins_suspended_is_told_once(fit: str, spec: Object) -> None:
    spec = spec | {"preflight": {"fit": fit}}
    first = judge(custom(**spec))
    (made,) = first.create
    assert not first.patch
    live = made | {"metadata": made["metadata"] | {"uid": "j"}, "status": {"conditions": SUSPENDED}}
    seen = Observed(JobObservation(live)) if fit == "Skip" else Observed(preflight=JobObservation(live))
    again = judge(custom(first.status, **spec), seen, NOW + timedelta(minutes=1))
    assert again.status == first.status, "the controller-manager's condition is no news"
    assert (again.create, again.patch, again.events) == ((), (), ())


@pytest.mark.parametrize(("checkpoint", "is_written"), [(None, False), (30, False), (40, True)])
def test_a_new_checkpoint_is_written_at_once(checkpoint: int | None, is_written: bool) -> None:
    status = judge(custom(), running(last_checkpoint=checkpoint if not is_written else 30)).status
    later = running(step=40, last_checkpoint=checkpoint, updated_at=NOW.timestamp() + 1)
    assert (judge(custom(status), later).status != status) is is_written


def test_progress_is_shown_for_people_and_programs() -> None:
    decision = judge(custom(), running(loss=1.5, eta_seconds=720.0, learning_rate=float("nan")))
    progress = decision.status["progress"]
    assert (progress["display"], progress["eta"], progress["percent"]) == ("62% 31/50", "12m", 62)
    assert (progress["loss"], progress["etaSeconds"]) == (1.5, 720)
    assert "learningRate" not in progress, "JSON has no NaN"
    assert decision.requeue_after is None, "its pod is asked without a pass"


@pytest.mark.parametrize(("age", "step", "is_written"), [(2, 40, False), (3, 40, True), (2, 3, True)])
def test_progress_alone_is_written_now_and_then(age: float, step: int, is_written: bool) -> None:
    status = judge(custom(), running(loss=1.5)).status
    later = running(step=step, updated_at=NOW.timestamp() + age)
    assert (judge(custom(status), later).status != status) is is_written


@pytest.mark.parametrize(
    ("said", "is_worth_it", "decides"),
    [
        ({"updated_at": NOW.timestamp() + 2}, False, False),
        ({"updated_at": NOW.timestamp() + 3}, True, False),
        ({"step": 40, "updated_at": NOW.timestamp() + 1e6}, True, False),
        ({"step": 3}, True, True),
        ({"phase": "saving"}, True, True),
        ({"last_checkpoint": 30}, True, True),
        ({"updated_at": 1e300}, False, False),
    ],
)
def test_what_a_pod_says_is_written_when_the_decision_would(said: Object, *, is_worth_it: bool, decides: bool) -> None:
    status = judge(custom(), running(loss=1.5)).status
    stored, later = recorded_live(status), running(**said)
    assert stored
    assert later.progress
    assert is_worth_a_write(stored, later.progress, SETTINGS.progress_write_seconds) is is_worth_it
    assert is_worth_a_write(stored, later.progress, float("inf")) is decides
    assert (judge(custom(status), later).status != status) is is_worth_it, "no pass is in vain"


@pytest.mark.parametrize("name", ["failed", "succeeded", "suspended", "stuck"])
def test_what_a_pod_says_is_not_compared_with_what_does_not_run(name: str) -> None:
    assert recorded_live(judge(custom(), SITUATIONS[name]).status) is None


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
    recorded = judge(custom(**spec), succeeded())
    assert (recorded.status["phase"], recorded.create, recorded.requeue_after) == ("Succeeded", (), 0.0)
    assert recorded.status["artifact"]
    assert "evaluationRef" not in recorded.status, "nothing about it keeps the result from being recorded"
    decision = judge(custom(recorded.status, **spec), Observed())
    (evaluation,) = decision.create
    assert (evaluation["kind"], evaluation["metadata"]["name"]) == ("Evaluation", "demo")
    assert evaluation["metadata"]["ownerReferences"][0]["uid"] == OWNER
    assert evaluation["spec"]["resources"]["gpu"] == 1
    assert evaluation["spec"]["nodeSelector"] == {"gpu": "big"}
    assert evaluation["spec"]["candidate"] == {"fineTuneJobRef": {"name": "demo"}}
    assert decision.status["evaluationRef"] == {"name": "demo"}


def test_an_evaluation_of_ours_is_not_created_twice() -> None:
    live = {"metadata": job()["metadata"]}
    recorded = judge(custom(evaluation=EVALUATION), succeeded()).status
    decision = judge(custom(recorded, evaluation=EVALUATION), Observed(evaluation=live))
    assert (decision.create, decision.status["evaluationRef"]) == ((), {"name": "demo"})


def test_a_foreign_evaluation_is_waited_for() -> None:
    live = {"metadata": {"name": "demo"}}
    decision = judge(custom(evaluation=EVALUATION), succeeded(evaluation=live))
    assert decision.create == ()
    assert "evaluationRef" not in decision.status
    assert "delete or rename" in condition(decision, "Succeeded")["message"]
    waiting = judge(custom(decision.status, evaluation=EVALUATION), Observed(evaluation=live))
    assert (waiting.create, waiting.status, waiting.requeue_after) == ((), decision.status, CONFLICT_SECONDS)
    later = judge(custom(decision.status, evaluation=EVALUATION), Observed())
    assert [obj["kind"] for obj in later.create] == ["Evaluation"]
    assert later.status["evaluationRef"] == {"name": "demo"}


@pytest.mark.law("L1", "F1")
@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (ApiError(403, "Forbidden", "exceeded quota: none, requested: count/evaluations=1"), "QuotaExceeded", "none"),
        (ApiError(422, "Invalid", "spec.dataset: bad"), "InvalidSpec", "spec.dataset: bad"),
    ],
)
def test_a_refused_evaluation_leaves_the_result_alone(error: ApiError, reason: str, words: str) -> None:
    recorded = judge(custom(evaluation=EVALUATION), succeeded()).status
    owed = judge(custom(recorded, evaluation=EVALUATION), Observed())
    raw = {"kind": "FineTuneJob", "metadata": {"generation": 1}, "status": recorded}
    refused = refuse_by_server(raw, error, NOW, owed.refused)
    assert {**refused.status, "conditions": []} == {**recorded, "conditions": []}
    for summary in ("Succeeded", "Finished"):
        assert condition(refused, summary) == condition(Decision(recorded), summary)
    told = condition(refused, "Accepted")
    assert (told["status"], told["reason"], refused.requeue_after) == ("False", reason, 60.0)
    assert told["message"].startswith("The training has succeeded, but its Evaluation (spec.evaluation) cannot be")
    assert words in told["message"]
    again = judge(custom(refused.status, evaluation=EVALUATION), Observed())
    assert [obj["kind"] for obj in again.create] == ["Evaluation"]
    assert again.status == owed.status, "the refusal is over once it is created"


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


STEP = RecoveryStep(
    kind="OutOfMemory",
    action="halveBatch",
    message="1.2 GiB were missing",
    at=NOW.timestamp(),
    step=3,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=8,
    gradient_checkpointing=False,
    optimizer="adamw_torch",
    learning_rate=2e-4,
)


def test_a_recovery_shows_at_once_and_stays() -> None:
    status = judge(custom(), running(loss=1.5)).status
    decision = judge(custom(status), running(recovery=(STEP,), updated_at=NOW.timestamp() + 1))
    (shown,) = decision.status["recovery"]
    assert (shown["action"], shown["perDeviceTrainBatchSize"], shown["time"]) == (
        "halveBatch",
        2,
        "2026-01-02T00:00:00Z",
    )
    fresh_pod = judge(custom(decision.status), running(step=0))
    assert fresh_pod.status["recovery"] == decision.status["recovery"]
    assert judge(custom(decision.status), failed()).status["recovery"] == decision.status["recovery"]


def test_suggestions_are_kept_one_of_each_reason() -> None:
    said = preflight_summary(suggestions=[{"reason": "Leak", "message": "3 rows"}])
    status = judge(custom(preflight={}), checked(said)).status
    flat, flatter = (Suggestion("FlatLoss", text) for text in ("flat", "flatter"))
    status = judge(custom(status, preflight={}), running(suggestions=(flat,))).status
    later = running(suggestions=(flatter,), updated_at=NOW.timestamp() + 60)
    status = judge(custom(status, preflight={}), later).status
    assert status["suggestions"] == [
        {"reason": "Leak", "message": "3 rows"},
        {"reason": "FlatLoss", "message": "flatter"},
    ]


def test_figures_that_cannot_be_are_ignored() -> None:
    assert "progress" not in judge(custom(), running(step=-1)).status


def test_the_result_tells_what_came_of_it() -> None:
    export = {"uri": "s3://kubetune/x/merged", "kind": "merged", "manifestSha256": "cd" * 32, "bytes": 9}
    said = train_summary(exports=[export], bestStep=40, stoppedEarly=True, tokens=9000, modelVersion="ns.demo/3")
    decision = judge(custom(), succeeded(said))
    status = decision.status
    assert status["exports"] == [
        {"uri": "s3://kubetune/x/merged", "kind": "merged", "manifestSHA256": "cd" * 32, "bytes": 9}
    ]
    assert (status["results"]["bestStep"], status["results"]["stoppedEarly"]) == (40, True)
    assert (status["results"]["tokens"], status["modelVersion"]) == (9000, "ns.demo/3")
    assert "stopped early" in condition(decision, "Succeeded")["message"]


def test_every_figure_of_the_contract_is_shown() -> None:
    renamed = {"fit_message": "message", "schema": None, "suggestions": None}
    for theirs, ours in ((PreflightSummary, PreflightStatus), (RecoveryStep, RecoveryStatus)):
        names = {renamed.get(field.name, field.name) for field in fields(theirs)} - {None}
        assert names ^ ours.model_fields.keys() <= {"at", "time"}, ours
    assert {field.name for field in fields(ContractEstimate)} == MemoryEstimate.model_fields.keys()


@pytest.mark.law("F21")
def test_the_settings_in_force_are_shown_from_the_start() -> None:
    shown = judge(custom(preset="code", lora={"rank": 4}, hyperparameters={"seed": 1})).status["effective"]
    assert (shown["lora"]["rank"], shown["lora"]["alpha"]) == (4, 64)
    assert (shown["hyperparameters"]["seed"], shown["hyperparameters"]["numTrainEpochs"]) == (1, 2.0)
