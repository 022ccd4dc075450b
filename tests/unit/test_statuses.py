"""What a person sees at a glance: conditions that agree, failures that stay in sight, and what a pod is doing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.common.job_status import JobCondition, JobPhase
from kubetune.common.meta import Resource
from kubetune.common.reasons import Shared
from kubetune.common.sentences import capitalised, sentences
from kubetune.evaluation.api import Evaluation
from kubetune.evaluation.api import Reason as EvaluationReason
from kubetune.finetunejob.api import FineTuneJob, Reason
from kubetune.finetunejob.observed import Observed
from kubetune.finetunejob.report.stages import STAGES, stage_of
from kubetune.modeldeployment.api import DeploymentCondition, DeploymentPhase, ModelDeployment
from kubetune.modeldeployment.api import Reason as DeploymentReason
from kubetune.runs.main_memory import fewer_tries
from kubetune.runs.read import JobObservation
from kubetune_contract import Phase, TrainProgress
from kubetune_contract import stopping as contract_stopping
from tests.support.objects import failure_summary
from tests.support.observed import job, pod, waiting
from tests.support.situations import (
    NOW,
    SITUATIONS,
    check_failed,
    checked,
    checking,
    condition,
    custom,
    failed,
    judge,
    running,
    succeeded,
)

Object = dict[str, Any]

PROMISES = ("starts once", "Waiting", "waits for", "is running", "is being", "set suspend to false", "by itself")
"""Words about what is still to come."""


@pytest.mark.walk("W12")
@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("fit", ["Require", "Skip"])
def test_what_has_ended_promises_nothing(name: str, fit: str) -> None:
    status = judge(custom(preflight={"fit": fit}), SITUATIONS[name]).status
    messages = [one["message"] for one in status["conditions"] if one["type"] != "Finished"]
    if "completionTime" in status:
        assert not [text for text in messages for word in PROMISES if word in text]
        assert [one["status"] for one in status["conditions"] if one["type"] == "Finished"] == ["True"]
        assert "Unknown" not in {one["status"] for one in status["conditions"]}
    else:
        assert [one["status"] for one in status["conditions"] if one["type"] == "Finished"] == ["False"]


@pytest.mark.walk("W12")
def test_a_training_that_never_was_says_so() -> None:
    decision = judge(custom(preflight={}), check_failed())
    for type_ in ("Scheduled", "Running"):
        told = condition(decision, type_)
        assert (told["status"], told["reason"]) == ("False", "MalformedRow")
        assert told["message"] == "Did not run: the preflight failed."


@pytest.mark.walk("W12")
def test_a_suspended_preflight_promises_no_training() -> None:
    decision = judge(custom(suspend=True, preflight={}), SITUATIONS["check is suspended"])
    assert "starts once" not in condition(decision, "Running")["message"]


@pytest.mark.walk("W8")
@pytest.mark.parametrize(
    ("observed", "reason", "text"),
    [(succeeded(), "Succeeded", "Trained 50 steps"), (failed(), "Failed", "MalformedRow: line 17")],
)
def test_finished_is_true_at_either_end(observed: Observed, reason: str, text: str) -> None:
    told = condition(judge(custom(), observed), "Finished")
    assert (told["status"], told["reason"]) == ("True", reason)
    assert text in told["message"]
    assert condition(judge(custom()), "Finished")["status"] == "False"


def test_what_an_older_operator_recorded_gets_finished_once() -> None:
    status = judge(custom(), failed()).status
    old = status | {"conditions": [one for one in status["conditions"] if one["type"] != "Finished"]}
    decision = judge(custom(old))
    assert condition(decision, "Finished")["reason"] == "Failed"
    assert judge(custom(decision.status)).status == decision.status


@pytest.mark.law("L2", "F8")
@pytest.mark.walk("C7")
@pytest.mark.parametrize("observed", [succeeded(), failed()])
def test_suspending_what_has_ended_is_told_to_have_no_effect(observed: Observed) -> None:
    status = judge(custom(), observed).status
    late = custom(status, suspend=True)
    late = late.model_copy(update={"metadata": late.metadata.model_copy(update={"generation": 2})})
    decision = judge(late)
    assert [(event.reason, event.warning) for event in decision.events] == [("AlreadyFinished", True)]
    assert "suspend: true has no effect" in decision.events[0].message
    assert decision.status == status | {"observedGeneration": 2}
    again = late.model_copy(update={"status": type(late.status).model_validate(decision.status)})
    assert judge(again).events == ()


@pytest.mark.walk("W13")
@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (checking(node="n", containers={"preflight": waiting("CreateContainerConfigError", 'secret "k" not found')}),
         "SecretNotFound"),
        (check_failed(66), "MalformedRow"),
        (check_failed(77), "MalformedRow"),
    ],
    ids=["secret", "bucket", "keys"],
)  # fmt: skip
def test_nothing_is_accepted_that_was_found_to_be_missing(observed: Observed, reason: str) -> None:
    told = condition(judge(custom(preflight={}), observed), "Accepted")
    assert (told["status"], told["reason"]) == ("False", reason)


def test_bad_rows_are_no_fault_of_the_spec() -> None:
    assert condition(judge(custom(preflight={}), check_failed(65)), "Accepted")["status"] == "True"


def dead(name: str = "p0", code: int = 137, reason: str = "OOMKilled", message: str = "", **members: Any) -> Object:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod(name, phase="Failed", started=True, containers={"train": state}, **members)


FIRST = "2025-12-31T23:59:00Z"
LATER = "2026-01-01T00:01:00Z"
ALIVE = pod("p1", node="n1", started=True, ip="1.1.1.1", created=LATER, containers={"train": {"running": {}}})
CROWDED = pod(
    "p1",
    created=LATER,
    conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu."}],
)


@pytest.mark.law("L2")
@pytest.mark.walk("W7")
@pytest.mark.walk("S5")
@pytest.mark.parametrize(
    ("pods", "reason"),
    [((dead(), ALIVE), "Running"), ((dead(), CROWDED), "Retrying"), ((dead(),), "Retrying")],
    ids=["running", "waiting", "between"],
)
def test_the_last_failure_stays_in_sight_while_it_is_tried_again(pods: tuple[Object, ...], reason: str) -> None:
    decision = judge(custom(), Observed(JobObservation(job(failed=1), pods)))
    assert decision.status["failure"]["reason"] == "OutOfMemory"
    told = condition(decision, "Succeeded")
    assert (told["status"], told["reason"]) == ("Unknown", reason)
    assert "OutOfMemory: Container train used more main memory" in told["message"]
    assert "ttempt 2 of 4" in told["message"] or "Attempt 1 of 4 failed" in told["message"]


def test_success_forgets_the_failures_before_it() -> None:
    done = succeeded()
    observed = replace(done, run=replace(done.run, pods=(dead(), *done.run.pods)))
    assert "failure" not in judge(custom(), observed).status


@pytest.mark.walk("W7")
def test_a_dead_pods_progress_is_not_shown_as_live() -> None:
    told = running(loss=1.5, eta_seconds=29.0, tokens_per_second=9.0, last_checkpoint=20)
    status = judge(custom(), told).status
    shown = judge(custom(status), Observed(JobObservation(job(failed=1), (dead(), CROWDED)))).status["progress"]
    assert (shown["display"], shown["step"], shown["loss"]) == ("40% 20/50", 20, 1.5)
    assert not {"eta", "etaSeconds", "tokensPerSecond", "phase"} & shown.keys()


@pytest.mark.law("L2", "F7")
@pytest.mark.walk("C6")
@pytest.mark.parametrize(
    "observed",
    [
        Observed(JobObservation(job(suspend=True))),
        Observed(JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=1), (dead(),))),
    ],
    ids=["suspended", "failed"],
)
def test_progress_loss_and_checkpoint_stay(observed: Observed) -> None:
    status = judge(custom(), running(loss=1.5, eta_seconds=29.0, last_checkpoint=30)).status
    shown = judge(custom(status, suspend=True), observed).status["progress"]
    assert (shown["display"], shown["loss"], shown["lastCheckpoint"]) == ("62% 31/50", 1.5, 30)
    assert "eta" not in shown


@pytest.mark.walk("C6")
def test_it_is_suspending_as_long_as_its_pod_saves() -> None:
    """Phase, what is saved, and in the end what the pod said that it goes on from."""
    status = judge(custom(), running(loss=1.5)).status
    stopping = Observed(JobObservation(job(suspend=True), (ALIVE,)))
    said = TrainProgress("saving", 32, 50, NOW.timestamp() + 1, last_checkpoint=32)
    first = judge(custom(status, suspend=True), replace(running(), progress=said))
    assert first.status["phase"] == "Suspending"
    second = judge(custom(first.status, suspend=True), replace(stopping, progress=said))
    assert (second.status["phase"], second.requeue_after) == ("Suspending", 2.0)
    assert second.status["progress"]["lastCheckpoint"] == 32
    later = replace(said, updated_at=said.updated_at + 1)
    assert judge(custom(second.status, suspend=True), replace(stopping, progress=later)).status == second.status
    message = failure_summary(75, "Preempted", "the next attempt goes on from the checkpoint of step 32")
    ended = dead("p1", 75, "Error", message)
    ended["metadata"]["deletionTimestamp"] = LATER
    third = judge(custom(second.status, suspend=True), Observed(JobObservation(job(suspend=True), (ended,))))
    assert (third.status["phase"], "failure" in third.status) == ("Suspended", False)
    gone = judge(custom(third.status, suspend=True), Observed(JobObservation(job(suspend=True))))
    assert gone.status == third.status
    assert "from the checkpoint of step 32" in condition(gone, "Succeeded")["message"]


@pytest.mark.walk("C5")
def test_the_plan_is_shown_before_the_first_step() -> None:
    planned = judge(custom(preflight={}), checked())
    assert planned.status["progress"]["display"] == "0% 0/50"
    loads = running(phase="loading libraries", step=0, total_steps=0)
    shown = judge(custom(planned.status, preflight={}), loads)
    assert shown.status["progress"]["display"] == "0% 0/50"
    assert condition(shown, "Succeeded")["reason"] == "LoadingModel"


@pytest.mark.walk("C5")
def test_a_run_that_goes_on_shows_from_where_while_it_loads() -> None:
    status = judge(custom(), running(loss=1.5, last_checkpoint=31)).status
    status = judge(custom(status, suspend=True), Observed(JobObservation(job(suspend=True)))).status
    fresh = pod("p2", node="n1", started=True, ip="1.1.1.1", containers={"train": {"running": {}}})
    said = TrainProgress("preparing", 0, 0, NOW.timestamp() + 60)
    loads = Observed(JobObservation(job(), (fresh,)), progress=said)
    decision = judge(custom(status), loads)
    assert decision.status["progress"]["display"] == "62% 31/50"
    assert (decision.status["progress"]["loss"], decision.status["progress"]["lastCheckpoint"]) == (1.5, 31)
    began_anew = replace(
        loads, progress=replace(said, phase="training", total_steps=50, updated_at=said.updated_at + 1)
    )
    assert judge(custom(decision.status), began_anew).status["progress"]["display"] == "0% 0/50"


@pytest.mark.walk("C5")
@pytest.mark.parametrize("phase", STAGES)
def test_what_the_pod_does_is_told(phase: str) -> None:
    decision = judge(custom(), running(phase=phase, loss=1.5))
    stage = stage_of(phase)
    assert stage is not None
    assert condition(decision, "Succeeded")["reason"] == stage.reason
    assert condition(decision, "Running")["reason"] == "Running"
    assert condition(decision, "Running")["message"] == f"Pod p1 {stage.does}."
    assert [event.reason for event in decision.events] == ["Running"], "an Event for each would be noise"


@pytest.mark.parametrize("phase", ["stopping: saving step 12", "waiting for MLflow", "done", "Loading libraries"])
def test_what_the_trainer_adds_to_a_word_is_about_the_moment(phase: str) -> None:
    assert condition(judge(custom(), running(phase=phase, loss=1.5)), "Succeeded")["reason"] != "Running"


@pytest.mark.walk("C5")
def test_every_phase_of_the_contract_is_known() -> None:
    """But for the one that a pod has for a moment before it ends, and whose end tells more."""
    assert [phase for phase in Phase if stage_of(phase) is None] == [Phase.FAILED]
    assert stage_of(contract_stopping(12)) is stage_of(Phase.STOPPING)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_word_for_what_it_does_is_taken(phase: str) -> None:
    decision = judge(custom(), running(phase=phase, loss=1.5))
    assert condition(decision, "Running")["status"] == "True"
    assert condition(decision, "Succeeded")["reason"] in {*Shared, *Reason}
    assert decision.status["progress"]["loss"] == 1.5


def test_a_new_thing_to_do_shows_at_once_and_once() -> None:
    status = judge(custom(), running(loss=1.5)).status
    saves = running(phase="saving", loss=1.5, updated_at=NOW.timestamp() + 1)
    second = judge(custom(status), saves)
    assert condition(second, "Succeeded")["reason"] == "Saving"
    later = running(phase="saving", loss=1.5, updated_at=NOW.timestamp() + 2)
    assert judge(custom(second.status), later).status == second.status
    assert judge(custom(second.status), running(), NOW + timedelta(hours=1)).status == second.status


@pytest.mark.walk("W6")
@pytest.mark.parametrize(
    ("pods", "counted", "limit", "expected"),
    [
        ((dead("a"), dead("b", created=LATER)), 2, 3, 1),
        ((dead("a"), dead("b", created=LATER)), 1, 3, 1),
        ((dead("a"), dead("b", created=LATER)), 4, 5, 3),
        ((dead("a"), dead("b", created=LATER)), 2, 1, None),
        ((dead("a", 69, "Error", created=FIRST), dead("b"), dead("c", created=LATER)), 3, 3, 2),
        ((dead("a", created=FIRST), dead("b", 75, "Error"), dead("c", created=LATER)), 2, 3, 1),
        ((dead("a", created=FIRST), dead("b", 69, "Error"), dead("c", created=LATER)), 3, 5, None),
        ((dead("a", created=FIRST), dead("b"), dead("c", 69, "Error", created=LATER)), 3, 5, None),
        ((dead("a"), dead("b", 69, "Error", created=LATER)), 2, 3, None),
        ((dead("a", 69, "Error"), dead("b", created=LATER)), 2, 3, None),
        ((dead("b", created=LATER),), 2, 3, None),
        ((dead(),), 1, 3, None),
        ((dead(),), 1, 0, None),
        ((dead("a", 69, "Error"),), 1, 3, None),
        ((dead("a", 78, "Error"),), 1, 3, None),
        ((), 0, 3, None),
    ],
)
def test_out_of_main_memory_twice_in_a_row_is_not_tried_again(
    pods: tuple[Object, ...], counted: int, limit: int, expected: int | None
) -> None:
    child = job(failed=counted, backoffLimit=limit)
    body = None if expected is None else {"spec": {"backoffLimit": expected}}
    assert fewer_tries(child, pods, "train") == body
    patched = [patch.body for patch in judge(custom(), Observed(JobObservation(child, (*pods, ALIVE)))).patch]
    assert patched == ([body] if body else [])
    if expected is not None:
        again = job(failed=counted, backoffLimit=expected)
        assert fewer_tries(again, pods, "train") is None


@pytest.mark.walk("W6")
def test_the_end_of_it_says_what_helps() -> None:
    ended = job(final="Failed", reason="BackoffLimitExceeded", failed=2, backoffLimit=1)
    told = condition(
        judge(custom(), Observed(JobObservation(ended, (dead("a"), dead("b", created=LATER))))), "Succeeded"
    )
    assert told["reason"] == "OutOfMemory"
    assert "no more are made" in told["message"]
    assert "spec.resources.memory" in told["message"]


@pytest.mark.walk("W6")
def test_who_ended_otherwise_before_is_not_said_to_have_ended_alike() -> None:
    ended = job(final="Failed", reason="BackoffLimitExceeded", failed=2, backoffLimit=1)
    pods = (dead("a", 69, "Error"), dead("b", created=LATER))
    told = condition(judge(custom(), Observed(JobObservation(ended, pods))), "Succeeded")
    assert told["message"].startswith("2 attempts failed (backoffLimit 1). The last: OutOfMemory: ")


@pytest.mark.walk("W6")
@pytest.mark.parametrize(("gpu", "warned"), [(0, True), (1, False)])
def test_tight_main_memory_is_a_warning(gpu: int, warned: bool) -> None:
    said = checked(fit="Tight", fitMessage="needs about 1.6 GiB of the 1.7 GiB of main memory")
    decision = judge(custom(preflight={}, resources={"gpu": gpu}), said)
    assert decision.create
    assert (("Tight", True) in [(event.reason, event.warning) for event in decision.events]) is warned


@pytest.mark.walk("W6")
def test_what_does_not_fit_main_memory_is_decided_as_on_a_gpu() -> None:
    said = checked(fit="DoesNotFit", fitMessage="needs about 1.6 GiB of the 0.6 GiB of main memory; raise it")
    decision = judge(custom(preflight={}), said)
    assert (decision.create, decision.status["phase"]) == ((), "Failed")
    assert decision.status["failure"]["message"].startswith("Needs about 1.6 GiB")
    trained = judge(custom(preflight={"fit": "Warn"}), said)
    assert trained.create
    assert ("DoesNotFit", True) in [(event.reason, event.warning) for event in trained.events]


@pytest.mark.walk("C22")
@pytest.mark.walk("C10")
def test_the_schedulers_tail_is_not_repeated() -> None:
    tail = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found."
    text = f"0/1 nodes are available: 1 Insufficient cpu. {tail}"
    unplaced = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}])
    decision = judge(custom(), Observed(JobObservation(job(), (unplaced,))))
    messages = [one["message"] for one in decision.status["conditions"]]
    assert not [one for one in messages if "preemption" in one or "claims" in one]
    assert sum("Insufficient cpu" in one for one in messages) == 2, "where it is, and the summary"
    assert "starts by itself" in condition(decision, "Scheduled")["message"]
    assert [(event.reason, event.warning) for event in decision.events] == [("Unschedulable", False)]


@pytest.mark.walk("S6")
@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("30 rows, 5 steps", "Trains on the CPU."), "30 rows, 5 steps. Trains on the CPU."),
        (("no gain", "The report is at s3://x"), "no gain. The report is at s3://x."),
        (("", None, "  ", "a!"), "a!"),
        (('says "so."', "b"), 'says "so." b.'),
    ],
)
def test_messages_are_sentences(parts: tuple[str | None, ...], text: str) -> None:
    assert sentences(*parts) == text


@pytest.mark.walk("S6")
@pytest.mark.parametrize(
    ("text", "expected"), [("trains on", "Trains on"), ("exactMatch is", "exactMatch is"), ("", "")]
)
def test_capitals(text: str, expected: str) -> None:
    assert capitalised(text) == expected


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_joined_sentences_have_one_space_and_an_end(parts: list[str]) -> None:
    joined = sentences(*parts)
    assert joined == joined.strip()
    assert sentences(joined) == joined


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.walk("C14")
@pytest.mark.parametrize("reasons", [Shared, Reason, EvaluationReason, DeploymentReason])
def test_every_word_is_explained(reasons: Iterable[str]) -> None:
    page = (DOCS / "operations.md").read_text()
    assert [reason for reason in reasons if f"`{reason}`" not in page] == []


@pytest.mark.walk("C14")
@pytest.mark.parametrize("words", [JobPhase, DeploymentPhase, JobCondition, DeploymentCondition])
def test_every_phase_and_condition_is_explained(words: Iterable[str]) -> None:
    page = (DOCS / "operations.md").read_text()
    assert [word for word in words if f"`{word}`" not in page] == []


@pytest.mark.walk("C2")
@pytest.mark.parametrize("kind", [FineTuneJob, Evaluation, ModelDeployment])
def test_the_columns_are_those_of_the_page(kind: type[Resource]) -> None:
    """In their order; the page does not name AGE."""
    page = (DOCS / "operations.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {kind.info.kind} |"))
    words = re.findall(r"[A-Z]+(?:[-/][A-Z]+)*(?![a-z])", row.split("|")[2])
    named = [word for word in words if len(word) > 1 or word == "S"]
    shown = [column.name.upper() for column in kind.info.columns if column.name != "Age"]
    assert named == shown
