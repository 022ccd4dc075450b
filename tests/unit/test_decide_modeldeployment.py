"""A ModelDeployment's decisions, state by state, played against a small stand-in for the Deployment controller."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from kubetune.lineage import Model
from kubetune.modeldeployment.api import VersionState
from kubetune.modeldeployment.ledger import Release
from kubetune.modeldeployment.rollout import LOAD_ATTEMPTS
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs
from tests.support.models import (
    ARTIFACT,
    BASE,
    MANIFEST,
    NOW,
    TIME,
    deployment,
    evaluation,
    failed_job,
    finished_job,
    gated,
    judged,
    running_job,
)
from tests.support.serving import World, condition, crashed, states

Object = dict[str, Any]

SETTINGS = Settings()
OTHER = "s3://kubetune/finetunejobs/team/second/job-uid/adapter"
V1 = Release(Model(BASE, ARTIFACT, MANIFEST)).version
V2 = Release(Model(BASE, OTHER, MANIFEST)).version


def test_serves_the_result_of_a_job() -> None:
    world = World(deployment())
    status = world.step()
    assert (status.phase, status.endpoint) == ("Loading", "http://demo.team.svc.cluster.local:8000/v1")
    assert (status.model_name, status.base_model_name) == ("demo", "demo-base")
    assert condition(status, "Admitted")[:2] == ("True", "NoGate")
    assert condition(status, "Loaded")[:2] == ("False", "Waiting")
    assert states(status) == [(V1, VersionState.ACTIVE)]
    status = world.serving()
    assert (status.phase, status.ready_replicas) == ("Ready", 1)
    assert condition(status, "Ready")[0] == "True"
    assert [event.reason for event in world.decision.events] == ["Ready"]
    assert world.decision.requeue_after is None


@pytest.mark.parametrize(
    ("job", "accepted", "admitted", "phase"),
    [
        (running_job(), ("True", "Accepted"), ("Unknown", "FineTuneJobNotFinished"), "Pending"),
        (failed_job(), ("False", "FineTuneJobFailed"), ("Unknown", "FineTuneJobFailed"), "Failed"),
    ],
)
def test_waits_for_its_job(job: FineTuneJob, accepted: tuple[str, str], admitted: tuple[str, str], phase: str) -> None:
    world = World(deployment(), job)
    status = world.step()
    assert condition(status, "Accepted")[:2] == accepted
    assert condition(status, "Admitted")[:2] == admitted
    assert condition(status, "Ready")[0] == "False"
    assert (world.version, status.phase, status.endpoint) == (None, phase, None)


def test_a_missing_job() -> None:
    world = World(deployment())
    world.observe(job=None)
    assert condition(world.step(), "Accepted")[:2] == ("False", "FineTuneJobNotFound")
    assert world.version is None


JUDGEMENTS = [
    (None, "EvaluationNotFound", "create", VersionState.PENDING),
    (evaluation(), "EvaluationNotFinished", "Waits", VersionState.PENDING),
    (evaluation(gate=None), "EvaluationWithoutGate", "spec.gate", VersionState.REJECTED),
    (
        evaluation(candidate={"fineTuneJobRef": {"name": "other"}}),
        "EvaluationOfAnotherModel",
        "FineTuneJob 'other'",
        VersionState.REJECTED,
    ),
    (judged("NoGo"), "VerdictNoGo", "Train a better model", VersionState.REJECTED),
    (judged("Inconclusive"), "VerdictInconclusive", "more items", VersionState.REJECTED),
    (judged(None), "EvaluationWithoutGate", "spec.gate", VersionState.REJECTED),
    (judged(adapter_uri=OTHER), "EvaluationOfAnotherModel", OTHER, VersionState.REJECTED),
    (judged(adapter_uri=None), "EvaluationOfAnotherModel", ARTIFACT, VersionState.REJECTED),
]


@pytest.mark.parametrize(("judge", "reason", "text", "state"), JUDGEMENTS)
def test_without_go_nothing_is_created(judge: Evaluation | None, reason: str, text: str, state: VersionState) -> None:
    world = World(deployment(requireVerdict=gated()), judge=judge)
    status = world.step()
    assert condition(status, "Accepted")[0] == "True"
    assert condition(status, "Admitted")[:2] == ("False", reason)
    assert text.lower() in condition(status, "Admitted")[2].lower()
    assert states(status) == [(V1, state)]
    assert (world.seen.deployment, world.seen.service, status.failure) == (None, None, None)


HOPELESS = [
    (evaluation(gate=None), {}, "EvaluationWithoutGate"),
    (evaluation(candidate={"fineTuneJobRef": {"name": "other"}}), {}, "EvaluationOfAnotherModel"),
    (None, {"evaluation": {"dataset": {"uri": "s3://data/t"}}}, "EvaluationWithoutGate"),
]


@pytest.mark.parametrize(("judge", "spec", "reason"), HOPELESS)
def test_a_verdict_that_can_never_count_is_told_before_the_training_ends(
    judge: Evaluation | None, spec: Any, reason: str
) -> None:
    status = World(deployment(requireVerdict=gated()), running_job(**spec), judge).step()
    assert condition(status, "Admitted")[:2] == ("False", reason)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ({"uri": f"{BASE}/"}, "EvaluationNotFinished"),
        ({"uri": OTHER}, "EvaluationOfAnotherModel"),
        ({"uri": BASE, "adapterUri": OTHER}, "EvaluationOfAnotherModel"),
        ({"fineTuneJobRef": {"name": "demo"}}, "EvaluationNotFinished"),
    ],
)
def test_folders_are_compared_before_anything_is_measured(candidate: Any, reason: str) -> None:
    judge = evaluation(candidate=candidate, baselines=[{"name": "b", "uri": "s3://x/y"}])
    status = World(deployment(model={"uri": BASE}, requireVerdict=gated()), judge=judge).step()
    assert condition(status, "Admitted")[:2] == ("False", reason)


def test_a_missing_secret_keeps_a_version_from_being_made() -> None:
    world = World(deployment())
    world.observe(inputs=Inputs(missing_secrets=frozenset([SETTINGS.store_secret])))
    status = world.step()
    assert condition(status, "Accepted")[:2] == ("False", "SecretNotFound")
    assert (world.seen.deployment, status.phase) == (None, "Pending")
    assert world.decision.requeue_after


LACKING: list[tuple[Object, Object, Object, str]] = [
    ({}, {}, {"missing_secrets": frozenset([SETTINGS.store_secret])}, "SecretNotFound"),
    ({"model": {"uri": "pvc://weights/llama"}}, {}, {"claims": {"weights": None}}, "ClaimNotFound"),
    ({}, {"cache": {"claimName": "models"}}, {"claims": {"models": None}}, "ClaimNotFound"),
]


@pytest.mark.parametrize(("spec", "cache", "lacks", "reason"), LACKING)
def test_what_answers_stays_ready_although_what_it_came_from_is_missing(
    spec: Object, cache: Object, lacks: Object, reason: str
) -> None:
    world = World(deployment(**spec, **cache))
    world.observe(inputs=Inputs(claims={"weights": "Bound", "models": "Bound"}))
    world.step()
    assert world.serving().phase == "Ready"
    world.observe(inputs=Inputs(**lacks))
    status = world.step()
    assert (status.phase, status.failure, condition(status, "Ready")[0]) == ("Ready", None, "True")
    assert condition(status, "Accepted")[:2] == ("False", reason)
    assert condition(status, "Admitted")[0] == "True"
    assert [(event.reason, event.warning) for event in world.decision.events] == [(reason, True)]
    assert world.decision.requeue_after
    world.observe(inputs=Inputs(claims={"weights": "Bound", "models": "Bound"}))
    assert condition(world.step(), "Accepted")[:2] == ("True", "Accepted")


@pytest.mark.parametrize(("spec", "cache", "lacks", "reason"), LACKING)
def test_pods_that_cannot_follow_are_no_version_before(spec: Object, cache: Object, lacks: Object, reason: str) -> None:
    """One of two answers: the wanted version, so nothing of it is the one before."""
    world = World(deployment(replicas=2, **spec, **cache))
    world.observe(inputs=Inputs(claims={"weights": "Bound", "models": "Bound"}))
    world.step()
    world.serving(inputs=Inputs(**lacks))
    status = world.obj.status
    assert (status.phase, status.failure, status.ready) == ("Loading", None, "1/2")
    assert condition(status, "Ready")[:2] == ("False", reason)


def test_another_version_that_lacks_something_leaves_the_one_before_serving() -> None:
    world = World(deployment())
    world.step()
    world.serving()
    world.spec(model={"uri": "pvc://weights/llama"})
    world.observe(job=None, inputs=Inputs(claims={"weights": None}))
    status = world.step()
    assert (status.phase, status.version) == ("ServingPrevious", V1)
    assert condition(status, "Ready")[:2] == ("False", "ClaimNotFound")


def test_a_foreign_service_is_no_version_before() -> None:
    world = World(deployment())
    world.step()
    world.serving()
    foreign = {"kind": "Service", "metadata": {"name": "demo", "namespace": "team", "uid": "foreign"}, "spec": {}}
    world.observe(service=foreign)
    status = world.step()
    assert (status.phase, condition(status, "Ready")[:2]) == ("Pending", ("False", "NameConflict"))


def test_go_opens_the_gate() -> None:
    world = World(deployment(requireVerdict=gated()), judge=judged())
    status = world.step()
    assert condition(status, "Admitted")[:2] == ("True", "Admitted")
    assert "+0.41" in condition(status, "Admitted")[2]
    assert world.version == V1


def _serving_v1_and_asked_for_v2(judge: Evaluation | None, **spec: Any) -> World:
    world = World(deployment(requireVerdict=gated(), **spec), judge=judged())
    world.step()
    world.serving()
    world.spec(model={"fineTuneJobRef": {"name": "second"}}, requireVerdict=gated("second"))
    world.observe(job=finished_job("second", OTHER), evaluation=judge)
    return world


@pytest.mark.walk("C3")
@pytest.mark.parametrize("judge", [None, evaluation(), judged("NoGo", adapter_uri=OTHER), judged("Go")])
def test_without_go_the_version_before_serves_on_untouched(judge: Evaluation | None) -> None:
    world = _serving_v1_and_asked_for_v2(judge)
    untouched = copy.deepcopy(world.seen.deployment)
    status = world.step()
    assert world.seen.deployment == untouched
    assert status.ready_replicas == 1
    assert states(status)[0] == (V1, VersionState.ACTIVE)
    assert states(status)[1][0] == V2
    assert condition(status, "Admitted")[0] == "False"
    assert condition(status, "Ready")[0] == "False"
    assert condition(status, "Ready")[2].startswith(f"Version {V1} goes on serving.")
    assert status.endpoint is not None
    assert (status.phase, status.ready, status.version) == ("ServingPrevious", "1/1", V1), "no outage"


def test_settings_of_the_version_that_serves_apply_although_the_next_one_waits() -> None:
    world = _serving_v1_and_asked_for_v2(None)
    world.spec(replicas=3, engine={"maxModelLen": 512})
    world.step()
    assert world.seen.deployment is not None
    assert world.seen.deployment["spec"]["replicas"] == 3
    assert world.version == V1


def test_go_rolls_out_and_the_old_pods_answer_meanwhile() -> None:
    world = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER))
    status = world.step()
    assert world.version == V2
    assert states(status) == [(V1, VersionState.ACTIVE), (V2, VersionState.ACTIVE)]
    assert f"Version {V1} serves until then" in condition(status, "Ready")[2]
    old = world.seen.pods
    world.observe(pods=(*old, world.pod("demo-2", ready=True, state={"running": {}})))
    assert condition(world.step(), "Ready")[:2] == ("False", "RollingOut")
    world.observe(pods=world.seen.pods[1:])
    status = world.step()
    assert (status.phase, states(status)) == ("Ready", [(V2, VersionState.ACTIVE)])


def test_an_admitted_version_survives_its_evidence() -> None:
    world = World(deployment(requireVerdict=gated()), judge=judged())
    world.step()
    for judge in (None, evaluation()):
        status = world.serving(evaluation=judge)
        assert condition(status, "Admitted")[:2] == ("True", "Admitted")
        assert "before" in condition(status, "Admitted")[2]
        assert status.phase == "Ready"


def test_a_new_verdict_against_what_serves_is_told_and_does_not_stop_it() -> None:
    world = World(deployment(requireVerdict=gated()), judge=judged())
    world.step()
    status = world.serving(evaluation=judged("NoGo"))
    assert condition(status, "Admitted")[:2] == ("False", "VerdictNoGo")
    assert (world.version, status.ready_replicas) == (V1, 1)


def test_a_version_survives_a_job_that_is_being_deleted() -> None:
    world = World(deployment())
    world.step()
    meta = finished_job().metadata.model_copy(update={"deletion_timestamp": NOW})
    status = world.serving(job=finished_job().model_copy(update={"metadata": meta}))
    assert (status.phase, world.version) == ("Ready", V1)


def test_a_version_survives_its_job() -> None:
    world = World(deployment())
    world.step()
    status = world.serving(job=None)
    assert (status.phase, world.version) == ("Ready", V1)


def test_children_deleted_by_hand_come_back_even_while_another_version_waits() -> None:
    world = _serving_v1_and_asked_for_v2(None)
    world.step()
    world.observe(deployment=None, pods=())
    world.step()
    assert world.version == V1
    world.observe(service=None)
    world.step()
    assert world.seen.service is not None


@pytest.mark.parametrize("kind", ["deployment", "service"])
def test_somebody_else_s_children_are_left_alone(kind: str) -> None:
    world = World(deployment())
    foreign = {"kind": kind.title(), "metadata": {"name": "demo", "namespace": "team", "uid": "foreign"}, "spec": {}}
    world.observe(**{kind: foreign})
    status = world.step()
    assert condition(status, "Accepted")[:2] == ("False", "NameConflict")
    assert (world.decision.apply, world.decision.delete) == ((), ())
    assert world.decision.requeue_after is not None


def test_missing_claims() -> None:
    world = World(deployment(cache={"claimName": "models"}))
    world.observe(inputs=Inputs(claims={"models": None}))
    status = world.step()
    assert condition(status, "Accepted")[:2] == ("False", "ClaimNotFound")
    assert world.version is None
    world.observe(inputs=Inputs(claims={"models": "Pending"}))
    world.step()
    assert world.version == V1


def test_a_model_on_a_missing_claim_waits_for_it() -> None:
    world = World(deployment(model={"uri": "pvc://weights/llama"}))
    world.observe(inputs=Inputs(claims={"weights": None}))
    assert condition(world.step(), "Accepted")[:2] == ("False", "ClaimNotFound")
    assert world.version is None


@pytest.mark.walk("W14")
def test_no_replicas() -> None:
    world = World(deployment(replicas=0))
    status = world.step()
    assert (status.phase, status.ready_replicas, status.ready, status.version) == ("Stopped", 0, "0/0", V1)
    assert condition(status, "Ready")[:2] == ("False", "ScaledToZero")
    assert [(one.state, one.message) for one in status.versions] == [("Stopped", "spec.replicas is 0")]
    assert [(event.reason, event.warning) for event in world.decision.events] == [("ScaledToZero", False)]


@pytest.mark.walk("W13")
def test_a_missing_secret_is_told_by_accepted_too() -> None:
    world = World(deployment())
    world.step()
    stuck = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}
    world.observe(pods=(world.pod(init=stuck),))
    status = world.step()
    assert condition(status, "Accepted")[:2] == ("False", "SecretNotFound")
    assert world.decision.requeue_after, "nobody tells when the Secret is made"
    assert condition(world.serving(), "Accepted")[:2] == ("True", "Accepted")


REFUSED = '{"schema":1,"reason":"AdapterNotServable","message":"vLLM cannot serve DoRA adapters.","exitCode":64}'
FAILURES: list[tuple[Object, str, str]] = [
    ({"init": crashed(64, REFUSED)}, "AdapterNotServable", "DoRA"),
    ({"init": crashed(70, "Traceback")}, "Error", "Traceback"),
    (crashed(1, "ValueError: max_model_len is too large"), "EngineFailed", "max_model_len is too large"),
    (crashed(137, reason="OOMKilled"), "OutOfMemory", "spec.resources.memory"),
    ({"state": {"terminated": {"exitCode": 1, "message": "boom"}}}, "EngineFailed", "boom"),
    ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}, "ImagePullFailed", "not found"),
    (
        {"init": {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}},
        "SecretNotFound",
        "create secret generic",
    ),
]


@pytest.mark.parametrize(("pod", "reason", "text"), FAILURES)
def test_a_version_that_does_not_come_up_says_why(pod: Object, reason: str, text: str) -> None:
    world = World(deployment())
    world.step()
    world.observe(pods=(world.pod(**pod),))
    status = world.step()
    assert status.phase == "Failed"
    assert status.failure is not None
    assert status.failure.reason == reason
    assert text in status.failure.message
    assert condition(status, "Loaded")[:2] == ("False", reason)
    assert "0 of 1 pods have loaded" in condition(status, "Loaded")[2]
    assert states(status) == [(V1, VersionState.FAILED)]
    assert reason in {event.reason for event in world.decision.events if event.warning}


ENGINE_WORDS = (
    '{"schema":1,"reason":"EngineFailed","message":"The engine (vLLM) ended with code 1: no cache.","exitCode":1}'
)


@pytest.mark.walk("W11")
@pytest.mark.parametrize(
    ("state", "previous"),
    [({}, " --previous"), ({"state": {"terminated": {"exitCode": 1, "message": ENGINE_WORDS}}}, "")],
)
def test_a_dead_engines_whole_log_is_one_command_away(state: Object, previous: str) -> None:
    world = World(deployment())
    world.step()
    pod = world.pod(**(crashed(1, ENGINE_WORDS) | state))
    world.observe(pods=(pod,))
    status = world.step()
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    assert condition(status, "Loaded")[2] == (
        f"0 of 1 pods have loaded version {V1}. The engine (vLLM) ended with code 1: no cache. All it said: "
        f"kubectl logs -n {namespace} {name} -c engine{previous}"
    )
    assert status.failure is not None
    assert status.failure.message == "The engine (vLLM) ended with code 1: no cache."


def test_a_failed_try_stays_visible_while_the_next_one_runs() -> None:
    world = World(deployment())
    world.step()
    again = {**crashed(1, "boom"), "state": {"running": {}}}
    world.observe(pods=(world.pod(**again),))
    status = world.step()
    assert status.failure is not None
    assert "boom" in status.failure.message


@pytest.mark.parametrize(
    ("pod", "reason"),
    [({"init": {"state": {"running": {}}}}, "Fetching"), ({"state": {"running": {}}}, "Loading")],
)
def test_on_its_way(pod: Object, reason: str) -> None:
    world = World(deployment())
    world.step()
    world.observe(pods=(world.pod(**pod),))
    status = world.step()
    assert condition(status, "Loaded")[:2] == ("False", reason)
    assert (status.phase, status.failure, world.decision.events) == ("Loading", None, ())


@pytest.mark.parametrize("reason", ["Unschedulable", "NoNodeWithGPU"])
def test_unschedulable(reason: str) -> None:
    world = World(deployment(resources={"gpu": 1}))
    world.step()
    text = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    pod = world.pod()
    pod["spec"] = {}
    pod["status"] = {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}]
    }
    placement = Fact(ConditionStatus.FALSE, reason, "No GPU.") if reason == "NoNodeWithGPU" else None
    world.observe(pods=(pod,), placement=placement)
    status = world.step()
    assert condition(status, "Ready")[:2] == ("False", reason)
    assert text in condition(status, "Ready")[2]


def test_pods_the_api_server_refuses() -> None:
    world = World(deployment())
    world.step()
    assert world.seen.deployment is not None
    message = 'pods "demo-abc" is forbidden: exceeded quota: small'
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    world.observe(deployment={**world.seen.deployment, "status": {"conditions": [refused]}})
    status = world.step()
    assert condition(status, "Ready")[:2] == ("False", "QuotaExceeded")
    assert "ResourceQuota" in condition(status, "Ready")[2]


def test_a_pod_that_is_going_away_does_not_count() -> None:
    world = World(deployment())
    world.step()
    world.serving()
    leaving = copy.deepcopy(world.seen.pods[0])
    leaving["metadata"]["deletionTimestamp"] = TIME
    world.observe(pods=(leaving,))
    assert world.step().ready_replicas == 0


def _never_loads(world: World, restarts: int = LOAD_ATTEMPTS) -> None:
    world.step()
    world.observe(pods=(world.pod("demo-2", **crashed(1, "out of CUDA memory", restarts=restarts)),))


def test_recreate_goes_back_to_the_version_before() -> None:
    world = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER), rollout="Recreate")
    _never_loads(world)
    status = world.step()
    assert world.version == V1
    assert status.failure is not None
    assert "out of CUDA memory" in status.failure.message
    assert (V2, VersionState.FAILED) in states(status)
    status = world.serving()
    assert states(status) == [(V1, VersionState.ACTIVE), (V2, VersionState.FAILED)]
    assert (status.phase, condition(status, "Ready")[1]) == ("ServingPrevious", "EngineFailed")
    assert condition(status, "Admitted")[0] == "True"


def test_a_version_given_up_is_tried_again_with_other_settings() -> None:
    world = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER), rollout="Recreate")
    _never_loads(world)
    world.step()
    world.spec(engine={"maxModelLen": 512})
    world.step()
    assert world.version == V2


def test_no_going_back_before_the_last_try_nor_without_a_version_before_nor_in_a_rolling_update() -> None:
    early = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER), rollout="Recreate")
    _never_loads(early, LOAD_ATTEMPTS - 1)
    early.step()
    assert early.version == V2
    first = World(deployment(rollout="Recreate"))
    _never_loads(first)
    first.step()
    assert first.version == V1
    rolling = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER))
    old = rolling.seen.pods
    _never_loads(rolling)
    rolling.observe(pods=(*old, *rolling.seen.pods))
    status = rolling.step()
    assert rolling.version == V2
    assert states(status) == [(V1, VersionState.ACTIVE), (V2, VersionState.FAILED)]
    assert status.ready_replicas == 1


def test_a_store_that_does_not_answer_is_no_reason_to_give_up() -> None:
    world = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER), rollout="Recreate")
    world.step()
    world.observe(pods=(world.pod("demo-2", init=crashed(69, "no answer", restarts=9)),))
    world.step()
    assert world.version == V2


def test_a_version_that_has_loaded_before_is_never_given_up() -> None:
    world = _serving_v1_and_asked_for_v2(judged(adapter_uri=OTHER), rollout="Recreate")
    world.step()
    world.serving()
    world.observe(pods=(world.pod("demo-2", **crashed(1, "boom", restarts=9)),))
    world.step()
    assert world.version == V2
