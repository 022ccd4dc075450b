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
from kubetune.finetunejob.decide import decide
from kubetune.finetunejob.observed import Observed
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs
from kubetune.workload.run import JobObservation
from kubetune_contract import RecoveryStep, Suggestion, TrainProgress
from tests.support.objects import EVALUATION, failure_summary, finetunejob, preflight_summary, train_summary
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


def checking(**pod_members: Any) -> Observed:
    """The preflight's Job with one pod."""
    return Observed(preflight=JobObservation(job("demo-preflight"), (pod("c1", **pod_members),)))


def checked(message: str | None = None, **summary: Any) -> Observed:
    """A preflight that has ended well."""
    said = preflight_summary(**summary) if message is None else message
    state = {"terminated": {"exitCode": 0, "message": said}}
    done = pod("c1", phase="Succeeded", started=True, containers={"preflight": state})
    return Observed(preflight=JobObservation(job("demo-preflight", final="Complete", succeeded=1), (done,)))


def check_failed(code: int = 65) -> Observed:
    state = {"terminated": {"exitCode": code, "message": failure_summary(code, "MalformedRow", "line 17")}}
    dead = pod("c1", phase="Failed", started=True, containers={"preflight": state})
    ended = job("demo-preflight", final="Failed", reason="PodFailurePolicy", failed=1)
    return Observed(preflight=JobObservation(ended, (dead,)))


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
    "checking": checking(node="n1", started=True, containers={"preflight": {"running": {}}}),
    "check is stuck": checking(node="n1", containers={"preflight": waiting("ErrImagePull", "no")}),
    "check is suspended": Observed(preflight=JobObservation(job("demo-preflight", suspend=True))),
    "check failed": check_failed(),
    "checked": checked(),
    "does not fit": checked(fit="DoesNotFit", fitMessage="Needs 14.0 of 12.0 GiB."),
    "check unreadable": checked("nonsense"),
    "foreign job": Observed(JobObservation(job() | {"metadata": {"name": "demo-train", "uid": "x"}})),
}


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
    second = judge(custom(first.status, **spec), SITUATIONS[name], NOW + timedelta(hours=1))
    assert second.status == first.status
    assert second.events == ()


@given(st.lists(st.sampled_from(sorted(SITUATIONS.keys() - set(CHECKS))), min_size=1, max_size=6))
def test_any_history_leads_to_the_same_place(names: list[str]) -> None:
    """Level-triggered: unless it has ended, only the last situation counts, however it came about."""
    assert_only_the_last_counts(names, "Skip")


@given(st.lists(st.sampled_from(OPEN), max_size=6), st.sampled_from([*OPEN, *CHECKS]))
def test_any_history_of_checks_leads_to_the_same_place(names: list[str], last: str) -> None:
    assert_only_the_last_counts([*names, last], "Require")


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


def test_a_new_job_is_checked_first() -> None:
    decision = judge(custom(preflight={}))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-preflight"]
    assert (decision.events, decision.requeue_after) == ((), None)
    assert condition(decision, "Preflighted")["status"] == "Unknown"
    assert decision.status["phase"] == "Pending"


def test_while_it_is_checked_nothing_is_trained() -> None:
    decision = judge(custom(preflight={}), SITUATIONS["checking"])
    assert (decision.create, decision.status["phase"]) == ((), "Preflight")
    assert (condition(decision, "Preflighted")["status"], condition(decision, "Running")["status"]) == (
        "Unknown",
        "False",
    )


def test_a_passed_preflight_starts_the_training_in_the_same_pass() -> None:
    decision = judge(custom(preflight={}), checked())
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-train"]
    passed = condition(decision, "Preflighted")
    assert (passed["status"], passed["reason"]) == ("True", "PreflightPassed")
    assert passed["message"] == "100 rows, 50 steps. Needs 7.1 of 12.0 GiB."
    assert decision.status["preflight"]["tokenLengths"]["p90"] == 200
    assert [event.reason for event in decision.events] == ["PreflightPassed"]


def test_killed_between_the_training_job_and_the_status() -> None:
    """The Job exists, the status does not say why: the preflight is read, not run again."""
    before = judge(custom(preflight={}), SITUATIONS["checking"]).status
    decision = judge(custom(before, preflight={}), replace(running(), preflight=checked().preflight))
    assert (decision.create, decision.delete) == ((), ())
    assert condition(decision, "Preflighted")["reason"] == "PreflightPassed"
    assert decision.status["preflight"]["fit"] == "Fits"
    assert decision.status["phase"] == "Running"


def test_a_lost_status_does_not_stop_a_training() -> None:
    decision = judge(custom(preflight={}), running())
    assert (decision.create, decision.status["phase"]) == ((), "Running")
    assert condition(decision, "Preflighted")["status"] == "True"


def test_what_has_passed_is_not_checked_again() -> None:
    status = judge(custom(preflight={}), checked()).status
    decision = judge(custom(status, preflight={}))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-train"]
    assert decision.status["preflight"] == status["preflight"]


def test_a_preflight_deleted_by_hand_is_made_again() -> None:
    status = judge(custom(preflight={}), SITUATIONS["checking"]).status
    assert [obj["metadata"]["name"] for obj in judge(custom(status, preflight={})).create] == ["demo-preflight"]


def test_findings_that_nobody_read_are_found_again() -> None:
    gone = Observed(preflight=JobObservation(job("demo-preflight", final="Complete", succeeded=1)))
    status = judge(custom(preflight={}), SITUATIONS["checking"]).status
    decision = judge(custom(status, preflight={}), gone)
    assert [ref.name for ref in decision.delete] == ["demo-preflight"]
    assert (decision.create, decision.status) == ((), status)


def test_an_unreadable_preflight_ends_the_job() -> None:
    status = judge(custom(preflight={}), checked("nonsense")).status
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ResultLost")


@pytest.mark.parametrize(("fit", "phase", "created"), [("Require", "Failed", []), ("Warn", "Pending", ["demo-train"])])
def test_what_does_not_fit(fit: str, phase: str, created: list[str]) -> None:
    decision = judge(custom(preflight={"fit": fit}), SITUATIONS["does not fit"])
    assert decision.status["phase"] == phase
    assert [obj["metadata"]["name"] for obj in decision.create] == created
    assert "Needs 14.0 of 12.0 GiB." in condition(decision, "Preflighted")["message"]
    assert ("DoesNotFit", True) in [(event.reason, event.warning) for event in decision.events]
    assert decision.status["preflight"]["fit"] == "DoesNotFit"
    if fit == "Require":
        assert decision.status["failure"]["reason"] == "DoesNotFit"
        assert condition(decision, "Succeeded")["status"] == "False"


@pytest.mark.parametrize("fit", ["Tight", "Unknown"])
def test_a_tight_or_unknown_fit_is_trained(fit: str) -> None:
    assert judge(custom(preflight={}), checked(fit=fit)).create


def test_a_failed_preflight_ends_the_job() -> None:
    decision = judge(custom(preflight={}), check_failed())
    assert decision.create == ()
    assert decision.status["failure"] == {"reason": "MalformedRow", "message": "line 17", "exitCode": 65, "pod": "c1"}
    assert condition(decision, "Preflighted")["reason"] == "MalformedRow"
    later = judge(custom(decision.status, preflight={}))
    assert (later.create, later.status) == ((), decision.status)


@pytest.mark.parametrize(("wanted", "is_so"), [(True, False), (False, True)])
def test_suspend_is_passed_on_to_the_preflight(wanted: bool, is_so: bool) -> None:
    observed = Observed(preflight=JobObservation(job("demo-preflight", suspend=is_so)))
    decision = judge(custom(suspend=wanted, preflight={}), observed)
    assert [(patch.ref.name, patch.body) for patch in decision.patch] == [
        ("demo-preflight", {"spec": {"suspend": wanted}})
    ]


def test_a_missing_input_found_after_the_preflight_keeps_what_it_found() -> None:
    spec: Object = {"preflight": {}, "baseModel": {"uri": "pvc://models/tiny"}}
    decision = judge(custom(**spec), replace(checked(), inputs=Inputs(claims={"models": None})))
    assert decision.create == ()
    assert condition(decision, "Accepted")["reason"] == "ClaimNotFound"
    assert condition(decision, "Preflighted")["status"] == "True"


def test_a_registry_without_a_server_is_refused() -> None:
    spec = {"tracking": {"registeredModel": "support"}}
    assert "spec.tracking.uri" in condition(judge(custom(**spec)), "Accepted")["message"]
    assert decide(custom(**spec), Observed(), NOW, Settings(tracking_uri="http://mlflow:5000")).create


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


def test_the_settings_in_force_are_shown_from_the_start() -> None:
    shown = judge(custom(preset="code", lora={"rank": 4}, hyperparameters={"seed": 1})).status["effective"]
    assert (shown["lora"]["rank"], shown["lora"]["alpha"]) == (4, 64)
    assert (shown["hyperparameters"]["seed"], shown["hyperparameters"]["numTrainEpochs"]) == (1, 2.0)
