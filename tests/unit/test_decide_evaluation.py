"""An Evaluation's decisions, state by state."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubetune.common.decision import Decision
from kubetune.evaluation.api import Evaluation, EvaluationStatus
from kubetune.evaluation.decide import Observed, decide
from kubetune.evaluation.resources import Models, build, resolve_models
from kubetune.evaluation.result import is_worth_a_write, recorded_progress
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs
from kubetune_contract import Artifact, Contents, EvalProgress, EvalSummary, MetricName, MetricResult, Verdict, dumps
from tests.support.models import ARTIFACT, BASE, NOW, TIME, evaluation, failed_job, finished_job, running_job

Object = dict[str, Any]

SETTINGS = Settings()


def result(metric: MetricName = MetricName.EXACT_MATCH, baseline: str = "base", **values: Any) -> MetricResult:
    numbers = {"candidate_value": 0.41, "baseline_value": 0.0, "difference": 0.41, "low": 0.34, "high": 0.48, **values}
    return MetricResult(metric=metric, baseline=baseline, n=200, unscored=1, method="skew-t", **numbers)


SUMMARY = EvalSummary(
    schema=1,
    results=(result(), result(MetricName.TOKEN_F1, difference=0.2)),
    report=Artifact("s3://kubetune/evaluations/team/demo/x", "report", "d" * 64, 10),
    n=200,
    duration_seconds=12.0,
    verdict=Verdict.GO,
    verdict_message="exactMatch is +0.41 [0.34, 0.48] against base.",
    dataset_sha256="e" * 64,
    candidate=Contents(f"files:{'f' * 64}", "whatever a pod says"),
)


def live_job(obj: Evaluation, condition: str | None = None, reason: str = "", **spec: Any) -> Object:
    """The Job that was created for ``obj``, as the API server returns it."""
    models = resolve_models(obj, {"demo": finished_job()})
    assert isinstance(models, Models)
    job = build(obj, models, SETTINGS)
    job["metadata"] |= {"uid": "job-uid"}
    job["spec"] |= spec
    entries = [{"type": condition, "status": "True", "reason": reason, "lastTransitionTime": TIME}] if condition else []
    return job | {"status": {"conditions": entries}}


def pod(phase: str, state: Object, name: str = "demo-evaluate-1", **status: Any) -> Object:
    """A pod whose container ``evaluate`` is in ``state``."""
    return {
        "metadata": {"name": name, "namespace": "team", "uid": name, "creationTimestamp": TIME},
        "spec": {"nodeName": "node"},
        "status": {
            "phase": phase,
            "startTime": TIME,
            "podIP": "10.0.0.9",
            "initContainerStatuses": [{"name": "prepare", "image": "i", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "evaluate", "image": "i", "state": state}],
            **status,
        },
    }


def run(obj: Evaluation, observed: Observed) -> tuple[EvaluationStatus, Decision]:
    """Decides, and checks on the way that deciding again with the result changes nothing."""
    decision = decide(obj, observed, NOW, SETTINGS)
    later = obj.model_copy(update={"status": EvaluationStatus.model_validate(decision.status)})
    again = decide(later, observed, NOW + timedelta(seconds=30), SETTINGS)
    assert again.status == decision.status
    assert again.events == ()
    return EvaluationStatus.model_validate(decision.status), decision


def condition(status: EvaluationStatus, type_: str) -> tuple[str, str, str]:
    found = next(entry for entry in status.conditions if entry.type == type_)
    return found.status.value, found.reason, found.message


def test_starts_when_its_model_is_there() -> None:
    status, decision = run(evaluation(), Observed(jobs={"demo": finished_job()}))
    assert [obj["metadata"]["name"] for obj in decision.create] == ["demo-evaluate"]
    assert condition(status, "Accepted")[0] == "True"
    assert (status.phase, status.primary_metric) == ("Pending", MetricName.EXACT_MATCH)
    assert status.candidate is not None
    assert status.candidate.adapter_uri == ARTIFACT
    assert decision.requeue_after is None


def test_waits_for_the_job_without_a_word_too_many() -> None:
    status, decision = run(evaluation(), Observed(jobs={"demo": running_job()}))
    assert decision.create == ()
    assert decision.events == ()
    assert condition(status, "Accepted")[0] == "True"
    assert condition(status, "Succeeded")[:2] == ("Unknown", "FineTuneJobNotFinished")
    assert "Waits for FineTuneJob 'demo' to finish (Running)" in condition(status, "Succeeded")[2]


def test_a_missing_job_is_told_at_once() -> None:
    status, decision = run(evaluation(), Observed(jobs={"demo": None}))
    assert condition(status, "Accepted")[:2] == ("False", "FineTuneJobNotFound")
    assert decision.events[0].warning


@pytest.mark.walk("W13")
def test_a_failed_job_fails_it_for_good() -> None:
    """As a ModelDeployment of it: Accepted says why. What has failed does not go back to Pending."""
    obj = evaluation()
    status, decision = run(obj, Observed(jobs={"demo": failed_job()}))
    assert status.phase == "Failed"
    assert condition(status, "Succeeded")[:2] == ("False", "FineTuneJobFailed")
    assert "Line 3 is no JSON" in condition(status, "Succeeded")[2]
    assert condition(status, "Accepted")[:2] == ("False", "FineTuneJobFailed")
    assert condition(status, "Finished")[:2] == ("True", "Failed")
    assert decision.create == ()
    later = obj.model_copy(update={"status": status})
    for job in (None, finished_job()):
        again = decide(later, Observed(jobs={"demo": job}), NOW + timedelta(days=1), SETTINGS)
        assert (again.create, again.status) == ((), status.to_dict())


@pytest.mark.walk("W13")
def test_a_failed_job_that_is_being_deleted_fails_nothing() -> None:
    """Whoever deletes it to create it again means the next one."""
    meta = failed_job().metadata.model_copy(update={"deletion_timestamp": NOW})
    status, _ = run(evaluation(), Observed(jobs={"demo": failed_job().model_copy(update={"metadata": meta})}))
    assert (status.phase, condition(status, "Accepted")[:2]) == ("Pending", ("False", "FineTuneJobNotFound"))
    later = evaluation().model_copy(update={"status": status})
    started, decision = run(later, Observed(jobs={"demo": finished_job()}))
    assert len(decision.create) == 1
    assert condition(started, "Accepted")[0] == "True"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (Inputs(config_maps={"items": None}), "ConfigMapNotFound"),
        (Inputs(config_maps={"items": frozenset({"other"})}), "ConfigMapNotFound"),
    ],
)
def test_missing_inputs_are_told_even_while_the_job_runs(inputs: Inputs, reason: str) -> None:
    obj = evaluation(dataset={"uri": "configmap://items/test.jsonl"})
    status, decision = run(obj, Observed(jobs={"demo": running_job()}, inputs=inputs))
    assert condition(status, "Accepted")[:2] == ("False", reason)
    assert decision.requeue_after is not None


def test_a_claim_that_is_missing() -> None:
    obj = evaluation(candidate={"uri": "pvc://weights/a"}, baselines=[{"name": "b", "uri": "s3://abc/b"}])
    status, _ = run(obj, Observed(inputs=Inputs(claims={"weights": None})))
    assert condition(status, "Accepted")[:2] == ("False", "ClaimNotFound")


def test_a_uri_of_an_older_crd_is_refused_with_its_problem() -> None:
    obj = evaluation(dataset={"uri": "ftp://x/y"})
    status, _ = run(obj, Observed(jobs={"demo": finished_job()}))
    assert condition(status, "Accepted")[:2] == ("False", "InvalidSpec")
    assert "ftp://x/y" in condition(status, "Accepted")[2]


def test_somebody_else_s_job_is_left_alone() -> None:
    job = live_job(evaluation())
    job["metadata"]["ownerReferences"] = []
    status, decision = run(evaluation(), Observed(JobObservation(job)))
    assert condition(status, "Accepted")[:2] == ("False", "NameConflict")
    assert (decision.create, decision.apply, decision.patch, decision.delete) == ((), (), (), ())


def test_follows_the_running_pod() -> None:
    obj = evaluation()
    observation = JobObservation(live_job(obj), (pod("Running", {"running": {}}),))
    said = EvalProgress("generating", 310, 500, NOW.timestamp(), "candidate")
    status, decision = run(obj, Observed(observation, progress=said))
    assert status.phase == "Running"
    assert status.progress is not None
    assert status.progress.display == "62% 310/500"
    assert decision.requeue_after is None, "its pod is asked without a pass"


def test_progress_is_written_now_and_then_only() -> None:
    obj = evaluation()
    observation = JobObservation(live_job(obj), (pod("Running", {"running": {}}),))
    first = EvalProgress("generating", 10, 500, NOW.timestamp())
    status, _ = run(obj, Observed(observation, progress=first))
    later = obj.model_copy(update={"status": status})
    soon = replace(first, done=20, updated_at=NOW.timestamp() + 1)
    assert decide(later, Observed(observation, progress=soon), NOW, SETTINGS).status == status.to_dict()
    stored = recorded_progress(status.to_dict())
    assert stored
    for said, is_worth_it, decides in (
        (soon, False, False),
        (replace(soon, updated_at=NOW.timestamp() + 1e6), True, False),
        (replace(soon, done=3), True, True),
        (replace(soon, updated_at=1e300), False, False),
        (replace(soon, done=-1), False, False),
    ):
        assert is_worth_a_write(stored, said, SETTINGS.progress_write_seconds) is is_worth_it
        assert is_worth_a_write(stored, said, float("inf")) is decides
    assert recorded_progress(status.to_dict() | {"phase": "Suspended"}) is None
    assert is_worth_a_write(recorded_progress({"phase": "Running"}) or stored, soon, float("inf")), "its first word"
    late = replace(first, done=90, updated_at=NOW.timestamp() + SETTINGS.progress_write_seconds)
    assert decide(later, Observed(observation, progress=late), NOW, SETTINGS).status != status.to_dict()


@pytest.mark.parametrize(("asked", "is_so"), [(True, False), (False, True)])
def test_suspend_is_passed_on(asked: bool, is_so: bool) -> None:
    obj = evaluation(suspend=asked)
    _, decision = run(obj, Observed(JobObservation(live_job(obj, suspend=is_so))))
    assert [patch.body for patch in decision.patch] == [{"spec": {"suspend": asked}}]


def test_what_begins_suspended_is_told_once() -> None:
    obj = evaluation(suspend=True)
    first = decide(obj, Observed(jobs={"demo": finished_job()}), NOW, SETTINGS)
    (made,) = first.create
    later = obj.model_copy(update={"status": EvaluationStatus.model_validate(first.status)})
    live = live_job(obj, "Suspended", "JobSuspended")
    assert live["spec"] == made["spec"]
    again = decide(later, Observed(JobObservation(live)), NOW + timedelta(minutes=1), SETTINGS)
    assert again.status == first.status, "the controller-manager's condition is no news"
    assert (again.create, again.patch, again.events) == ((), (), ())


def test_suspended_says_so() -> None:
    obj = evaluation(suspend=True)
    status, _ = run(obj, Observed(JobObservation(live_job(obj))))
    assert status.phase == "Suspended"


def test_the_result_of_a_finished_run() -> None:
    obj = evaluation()
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(SUMMARY)}})
    status, decision = run(obj, Observed(JobObservation(live_job(obj, "Complete"), (done,))))
    assert (status.phase, status.verdict, status.n) == ("Succeeded", Verdict.GO, 200)
    assert status.delta == "+0.41 [0.34, 0.48]"
    assert status.metrics is not None
    assert [entry.metric for entry in status.metrics] == [MetricName.EXACT_MATCH, MetricName.TOKEN_F1]
    assert status.report is not None
    assert status.report.manifest_sha256 == "d" * 64
    assert status.candidate is not None
    assert (status.candidate.uri, status.candidate.adapter_uri) == (BASE, ARTIFACT)
    assert (status.candidate.content, status.candidate.adapter_content) == (f"files:{'f' * 64}", None), (
        "a digest or nothing"
    )
    assert status.dataset_sha256 == "e" * 64
    assert condition(status, "Succeeded")[2].startswith("Go on 200 items. exactMatch is +0.41")
    assert [(event.reason, event.warning) for event in decision.events] == [("Completed", False)]


@pytest.mark.parametrize(
    ("verdict", "said"), [(Verdict.GO, "Go on 200 items in 40 groups."), (None, "Measured 200 items in 40")]
)
def test_groups_are_counted_beside_the_items(verdict: Verdict | None, said: str) -> None:
    obj = evaluation(gate={"metric": "exactMatch"} if verdict else None)
    summary = replace(SUMMARY, verdict=verdict, groups=40)
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(summary)}})
    status, _ = run(obj, Observed(JobObservation(live_job(obj, "Complete"), (done,))))
    assert (status.n, status.groups) == (200, 40)
    assert condition(status, "Succeeded")[2].startswith(said)


def test_delta_is_against_the_baseline_hardest_to_beat() -> None:
    summary = replace(SUMMARY, results=(result(), result(baseline="strong", difference=0.02, low=-0.01, high=0.05)))
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(summary)}})
    status, _ = run(evaluation(), Observed(JobObservation(live_job(evaluation(), "Complete"), (done,))))
    assert status.delta == "+0.02 [-0.01, 0.05]"


def test_numbers_json_cannot_carry_are_left_to_the_report() -> None:
    summary = replace(SUMMARY, results=(result(high=float("inf")), result(p_value=float("nan"))))
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(summary)}})
    status, _ = run(evaluation(), Observed(JobObservation(live_job(evaluation(), "Complete"), (done,))))
    assert status.metrics is not None
    assert [entry.p_value for entry in status.metrics] == [None]


def test_without_a_gate_there_is_no_verdict() -> None:
    obj = evaluation(gate=None, metrics=["tokenF1"])
    summary = replace(SUMMARY, verdict=None, verdict_message=None, results=(result(MetricName.TOKEN_F1),))
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(summary)}})
    status, _ = run(obj, Observed(JobObservation(live_job(obj, "Complete"), (done,))))
    assert (status.verdict, status.primary_metric) == (None, MetricName.TOKEN_F1)
    assert "no gate" in condition(status, "Succeeded")[2]


@pytest.mark.parametrize("pods", [(), (pod("Succeeded", {"terminated": {"exitCode": 0, "message": "killed"}}),)])
def test_a_verdict_nobody_read_is_no_verdict(pods: tuple[Object, ...]) -> None:
    status, _ = run(evaluation(), Observed(JobObservation(live_job(evaluation(), "Complete"), pods)))
    assert status.phase == "Failed"
    assert condition(status, "Succeeded")[:2] == ("False", "ResultLost")
    assert "s3://kubetune/evaluations/team/demo/evaluation-demo" in condition(status, "Succeeded")[2]


def test_finished_stays_finished_whatever_happens_to_its_children() -> None:
    obj = evaluation()
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": dumps(SUMMARY)}})
    status, _ = run(obj, Observed(JobObservation(live_job(obj, "Complete"), (done,))))
    later = obj.model_copy(update={"status": status})
    for observed in (Observed(), Observed(jobs={"demo": None}), Observed(JobObservation(live_job(obj)))):
        decision = decide(later, observed, NOW + timedelta(days=1), Settings(keep_finished_seconds=0))
        assert decision == Decision(status=status.to_dict())


FAILURE = '{"schema":1,"reason":"MalformedRow","message":"dataset test.jsonl line 17: not JSON","exitCode":65}'


@pytest.mark.parametrize(
    ("reason", "terminated", "expected", "text"),
    [
        ("PodFailurePolicy", {"exitCode": 65, "message": FAILURE}, "MalformedRow", "line 17"),
        ("BackoffLimitExceeded", {"exitCode": 137, "reason": "OOMKilled"}, "OutOfMemory", "spec.resources.memory"),
        ("BackoffLimitExceeded", {"exitCode": 69, "message": "gone"}, "Unavailable", "gone"),
        ("DeadlineExceeded", {"exitCode": 143}, "DeadlineExceeded", "activeDeadlineSeconds (60"),
    ],
)
def test_failures_say_why(reason: str, terminated: Object, expected: str, text: str) -> None:
    obj = evaluation(activeDeadlineSeconds=60)
    dead = pod("Failed", {"terminated": terminated})
    status, decision = run(obj, Observed(JobObservation(live_job(obj, "Failed", reason), (dead,))))
    assert status.phase == "Failed"
    assert status.failure is not None
    assert status.failure.reason == expected
    assert text in status.failure.message
    assert condition(status, "Succeeded")[:2] == ("False", expected)
    assert decision.events[0].warning


def test_an_unschedulable_pod_repeats_the_scheduler_s_words() -> None:
    obj = evaluation()
    text = "0/1 nodes are available: 1 Insufficient memory."
    unplaced = pod("Pending", {"waiting": {}}, containerStatuses=[], initContainerStatuses=[])
    unplaced["spec"] = {}
    unplaced["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
    ]
    status, _ = run(obj, Observed(JobObservation(live_job(obj), (unplaced,))))
    assert condition(status, "Scheduled")[:2] == ("False", "Unschedulable")
    assert text in condition(status, "Scheduled")[2]


def test_its_time_does_not_begin_again_when_it_is_resumed() -> None:
    obj = evaluation(activeDeadlineSeconds=60, suspend=True)
    live = live_job(obj, suspend=False)
    live["status"]["startTime"] = (NOW - timedelta(seconds=20)).isoformat()
    decision = decide(obj, Observed(JobObservation(live)), NOW, SETTINGS)
    assert [patch.body for patch in decision.patch] == [{"spec": {"suspend": True, "activeDeadlineSeconds": 40}}]
    status, _ = run(
        obj, Observed(JobObservation(live_job(obj, "Failed", "DeadlineExceeded", activeDeadlineSeconds=40)))
    )
    assert status.failure is not None
    assert "20s of it before it was last resumed" in status.failure.message


SAME = {"name": "b", "uri": BASE, "adapterUri": ARTIFACT}


@pytest.mark.law("L5", "F4")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"baselines": [{"name": "a", "uri": BASE}, SAME]}, ["spec.baselines", "spec.candidate", "'b'"]),
        ({"dataset": {"uri": "s3://data/train.jsonl/"}}, ["spec.dataset.uri", "'demo'"]),
    ],
)
def test_what_only_the_job_shows_to_be_senseless_is_refused(spec: Any, words: list[str]) -> None:
    job = finished_job(dataset={"uri": "s3://data/train.jsonl"})
    status, decision = run(evaluation(**spec), Observed(jobs={"demo": job}))
    assert decision.create == ()
    assert condition(status, "Accepted")[:2] == ("False", "InvalidSpec")
    assert [word for word in words if word not in condition(status, "Accepted")[2]] == []


@pytest.mark.parametrize("job", [running_job(), finished_job()], ids=["waiting", "finished"])
def test_a_missing_secret_is_told_before_a_pod_waits_for_it(job: Any) -> None:
    missing = Inputs(missing_secrets=frozenset([SETTINGS.store_secret]))
    status, decision = run(evaluation(), Observed(jobs={"demo": job}, inputs=missing))
    assert (decision.create, decision.requeue_after) == ((), 5.0)
    assert condition(status, "Accepted")[:2] == ("False", "SecretNotFound")


@pytest.mark.walk("W13")
def test_nothing_is_accepted_above_what_it_names_and_nobody_finds() -> None:
    status, _ = run(evaluation(), Observed(jobs={"demo": failed_job()}))
    assert condition(status, "Accepted")[:2] == ("False", "FineTuneJobFailed")
    obj = evaluation()
    state = {"terminated": {"exitCode": 77, "reason": "Error", "message": "no"}}
    dead = JobObservation(live_job(obj, "Failed", "PodFailurePolicy"), (pod("Failed", state),))
    status, _ = run(obj, Observed(dead))
    assert condition(status, "Accepted")[:2] == ("False", "PermissionDenied")


@pytest.mark.law("L8", "F10")
@pytest.mark.parametrize(
    "members", [{"n": -1}, {"datasetSha256": "x" * 99}, {"verdictMessage": "m" * 9000}, {"verdict": "Perhaps"}]
)
def test_a_figure_that_cannot_be_does_not_stop_an_evaluation(members: Object) -> None:
    obj = evaluation()
    said = json.dumps(json.loads(dumps(SUMMARY)) | members)
    done = pod("Succeeded", {"terminated": {"exitCode": 0, "message": said}})
    status, _ = run(obj, Observed(JobObservation(live_job(obj, "Complete"), (done,))))
    # A verdict that nobody can read opens no gate and closes none.
    assert status.phase == ("Failed" if "verdict" in members else "Succeeded")
    assert (status.verdict is None) == ("verdict" in members)
