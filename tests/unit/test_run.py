"""A Job and its pods as one run, and why it is not further."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.job_status import JobPhase
from kubetune.runs.read import JobObservation, Run, read_run
from kubetune.workload.explain import failure_of
from tests.support.objects import failure_summary
from tests.support.observed import job, pod, waiting

GPU = "nvidia.com/gpu"
NO_GPU = Fact(ConditionStatus.FALSE, "NoNodeWithGPU", "No GPU.")


def read(observation: JobObservation) -> Run:
    return read_run(observation, main="train")


def test_no_job_no_pod_and_a_blank_pod_are_one() -> None:
    """Otherwise the Job controller's first steps would each cost a status write."""
    runs = [read(JobObservation()), read(JobObservation(job())), read(JobObservation(job(), (pod(),)))]
    facts = {(run.phase, run.scheduled, run.running, run.succeeded, run.attempts) for run in runs}
    assert len(facts) == 1


@pytest.mark.parametrize(
    ("reason", "text", "placement", "expected", "words"),
    [
        ("Unschedulable", "0/2 nodes: 2 Insufficient cpu.", None, "Unschedulable", "2 Insufficient cpu"),
        ("Unschedulable", f"0/2 nodes: 2 Insufficient {GPU}.", None, "Unschedulable", f"Insufficient {GPU}"),
        (
            "Unschedulable",
            f"0/2 nodes: 2 Insufficient {GPU}.",
            NO_GPU,
            "NoNodeWithGPU",
            "No GPU. The scheduler says: 0/2",
        ),
        ("SchedulingGated", "waits for the queue", None, "Waiting", "waits for the queue"),
    ],
)
def test_not_scheduled(reason: str, text: str, placement: Fact | None, expected: str, words: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": text}
    run = read(JobObservation(job(), (pod(conditions=[condition]),), placement=placement))
    assert (run.phase, run.scheduled.reason) == (JobPhase.PENDING, expected)
    assert run.scheduled.status is ConditionStatus.FALSE
    assert words in run.scheduled.message


@pytest.mark.parametrize(
    ("reason", "text", "expected", "words"),
    [
        ("ErrImagePull", "manifest unknown", "ImagePullFailed", "manifest unknown"),
        ("InvalidImageName", "bad name", "ImagePullFailed", "bad name"),
        (
            "CreateContainerConfigError",
            'secret "keys" not found',
            "SecretNotFound",
            "create secret generic keys",
        ),
        ("CreateContainerConfigError", "couldn't find key A in Secret ns/keys", "SecretNotFound", "has no key A"),
        ("CreateContainerConfigError", 'configmap "rows" not found', "ConfigMapNotFound", "ns/rows"),
        ("CreateContainerConfigError", "something else", "ContainerNotStarted", "something else"),
        ("RunContainerError", "no such runtime", "ContainerNotStarted", "no such runtime"),
    ],
)
def test_not_started(reason: str, text: str, expected: str, words: str) -> None:
    stuck = pod(node="n1", started=True, containers={"train": waiting(reason, text)})
    run = read(JobObservation(job(), (stuck,)))
    assert (run.phase, run.running.reason) == (JobPhase.PENDING, expected)
    assert run.scheduled.status is ConditionStatus.TRUE
    assert words in run.running.message


def test_a_pull_that_fails_names_the_secrets_it_was_tried_with() -> None:
    stuck = pod(node="n1", containers={"train": waiting("ErrImagePull", "unauthorized")})
    assert "pullSecrets" not in read(JobObservation(job(), (stuck,))).running.message
    stuck["spec"]["imagePullSecrets"] = [{"name": "mirror"}]
    message = read(JobObservation(job(), (stuck,))).running.message
    assert message.endswith("unauthorized. The chart's images.pullSecrets are to be in namespace ns, too: mirror.")


def test_the_kubelets_two_ways_to_say_one_thing_are_one() -> None:
    pulls = [
        ("ErrImagePull", "rpc error: not found"),
        ("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: rpc error: not found'),
    ]
    pods = [pod(node="n1", containers={"train": waiting(reason, text)}) for reason, text in pulls]
    messages = {read(JobObservation(job(), (stuck,))).running.message for stuck in pods}
    assert len(messages) == 1


def test_a_volume_that_cannot_be_mounted() -> None:
    event = {"reason": "FailedMount", "message": 'claim "models" not bound', "lastTimestamp": "2026-01-01T00:00:00Z"}
    starting = pod(node="n1", containers={"train": waiting("ContainerCreating", "")})
    run = read(JobObservation(job(), (starting,), warnings=(event,)))
    assert run.running.reason == "ContainerNotStarted"
    assert 'claim "models" not bound' in run.running.message
    assert run.recheck_after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Error creating: pods "demo-train-x7k2p" is forbidden: exceeded quota: small, limited: pods=0',
            "QuotaExceeded",
        ),
        (
            'Error creating: pods "demo-train-x7k2p" is forbidden: pod rejected: RuntimeClass "n" not found',
            "RuntimeClassNotFound",
        ),
        ('Error creating: pods "demo-train-x7k2p" is forbidden: violates PodSecurity', "CreationRefused"),
    ],
)
def test_a_pod_that_may_not_be_created(text: str, expected: str) -> None:
    event = {"reason": "FailedCreate", "message": f'Error creating: pods "demo-train-x7k2p" is forbidden: {text}'}
    run = read(JobObservation(job(), warnings=(event,)))
    assert (run.scheduled.reason, run.phase) == (expected, JobPhase.PENDING)
    assert "x7k2p" not in run.scheduled.message, "a random name would change the status with every try"


def test_running() -> None:
    run = read(
        JobObservation(job(), (pod(node="n1", started=True, ip="10.0.0.1", containers={"train": {"running": {}}}),))
    )
    assert (run.phase, run.pod_ip, run.attempts) == (JobPhase.RUNNING, "10.0.0.1", 1)
    assert run.running.status is ConditionStatus.TRUE


def test_preparing() -> None:
    preparing = pod(
        node="n1", started=True, init={"prepare": {"running": {}}}, containers={"train": waiting("PodInitializing", "")}
    )
    run = read(JobObservation(job(), (preparing,)))
    assert (run.phase, run.running.reason) == (JobPhase.PENDING, "Preparing")


@pytest.mark.parametrize(
    ("code", "reason", "text", "expected", "words"),
    [
        (65, "Error", failure_summary(65, "MalformedRow", "line 17: no prompt"), "MalformedRow", "line 17"),
        (137, "OOMKilled", "", "OutOfMemory", "spec.resources.memory"),
        (78, "Error", "", "OutOfMemory", "code 78"),
        (78, "Error", "", "OutOfMemory", "spec.resources.memory is main memory and does not help"),
        (137, "Error", "", "Error", "killed from outside"),
        (79, "Error", "", "Diverged", "code 79"),
        (70, "Error", "Traceback: boom", "Error", "boom"),
        (1, "Error", "", "Error", "left no message"),
    ],
)
def test_failed(code: int, reason: str, text: str, expected: str, words: str) -> None:
    dead = pod(phase="Failed", started=True, containers={"train": _terminated(code, reason, text)})
    run = read(JobObservation(job(final="Failed", reason="PodFailurePolicy", failed=1), (dead,)))
    assert (run.phase, run.succeeded.reason) == (JobPhase.FAILED, expected)
    assert run.failure is not None
    assert (run.failure.reason, run.failure.exit_code) == (expected, code)
    assert words in run.failure.message


@pytest.mark.walk("C23")
@pytest.mark.parametrize(
    ("container", "own", "others"),
    [
        ("train", "perDeviceTrainBatchSize", ("maxNumSeqs", "maxNewTokens")),
        ("evaluate", "spec.generation.batchSize", ("maxNumSeqs", "perDeviceTrainBatchSize")),
        ("engine", "spec.engine.maxNumSeqs", ("batchSize", "perDeviceTrainBatchSize")),
        ("fetch", "spec.resources.memory", ("batchSize", "maxNumSeqs")),
    ],
)
@pytest.mark.parametrize(("code", "reason"), [(137, "OOMKilled"), (78, "Error")])
def test_who_lacks_memory_is_told_its_own_settings(
    container: str, own: str, others: tuple[str, ...], code: int, reason: str
) -> None:
    status = {"name": container, "state": _terminated(code, reason, "")}
    failure = failure_of(status, "state")
    assert failure is not None
    assert failure.reason == "OutOfMemory"
    assert own in failure.message or (code == 78 and "larger GPU" in failure.message)
    assert not [word for word in others if word in failure.message]


@pytest.mark.walk("W11")
def test_a_logs_end_is_told_without_its_traceback() -> None:
    log = 'Traceback (most recent call last):\n  File "x.py", line 1\n    f()\n    ^^^\nValueError: no such layer q'
    failure = failure_of({"name": "engine", "state": _terminated(1, "Error", log)}, "state")
    assert failure is not None
    assert failure.message == "Container engine exited with code 1. It said last: no such layer q"


def test_the_init_containers_failure_counts() -> None:
    dead = pod(phase="Failed", started=True, init={"prepare": _terminated(66, "Error", "no such bucket")})
    run = read(JobObservation(job(final="Failed", reason="PodFailurePolicy", failed=1), (dead,)))
    assert run.failure is not None
    assert (run.failure.reason, run.failure.exit_code) == ("InputNotFound", 66)


def test_a_pod_that_filled_its_disk_is_told_what_to_raise() -> None:
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 3Gi. "
    dead = pod(phase="Failed", started=True, reason="Evicted", message=text)
    run = read(JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=1), (dead,)))
    assert run.failure is not None
    assert run.failure.reason == "Evicted"
    assert run.failure.message.endswith(
        "containers 3Gi. It filled more of the node's disk than it may: raise spec.resources.scratch."
    )


def test_evicted() -> None:
    dead = pod(phase="Failed", started=True, reason="Evicted", message="The node was low on resource: memory.")
    run = read(JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=1), (dead,)))
    assert run.failure is not None
    assert (run.failure.reason, run.failure.message) == ("Evicted", "The node was low on resource: memory.")


def test_preempted_by_the_scheduler() -> None:
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "message": "preempting to accommodate a higher priority pod",
    }
    dead = pod(
        "p1", phase="Failed", started=True, conditions=[target], containers={"train": _terminated(143, "Error", "")}
    )
    fresh = pod("p2", created="2026-01-01T00:01:00Z")
    run = read(JobObservation(job(), (dead, fresh)))
    assert run.failure is not None
    assert run.failure.reason == "Preempted"
    assert "higher priority" in run.failure.message


def test_out_of_attempts() -> None:
    dead = pod(phase="Failed", started=True, containers={"train": _terminated(69, "Error", "no answer")})
    run = read(JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=4, backoffLimit=3), (dead,)))
    assert run.succeeded.reason == "BackoffLimitExceeded"
    assert "4 attempts failed (backoffLimit 3)" in run.succeeded.message
    assert "no answer" in run.succeeded.message


def test_deadline() -> None:
    run = read(JobObservation(job(final="Failed", reason="DeadlineExceeded", activeDeadlineSeconds=60)))
    assert run.succeeded.reason == "DeadlineExceeded"
    assert "activeDeadlineSeconds (60)" in run.succeeded.message


def test_failed_and_its_pod_is_gone() -> None:
    run = read(JobObservation(job(final="Failed", reason="BackoffLimitExceeded", failed=1)))
    assert "its own message is lost" in run.succeeded.message


def test_a_pod_has_ended_and_the_job_has_not_said_so() -> None:
    dead = pod(phase="Failed", started=True, containers={"train": _terminated(65, "Error", "")})
    assert read(JobObservation(job(), (dead,))).is_unsettled
    counted = read(JobObservation(job(failed=1), (dead,)))
    assert not counted.is_unsettled
    assert counted.succeeded.reason == "Retrying"


IGNORED = [
    {"containers": {"train": {"terminated": {"exitCode": 75}}}},
    {"containers": {"train": {"terminated": {"exitCode": 80}}}},
    {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]},
]
"""Ends that the Job's failure policy leaves out of its count, for good."""
QUOTA = 'Error creating: pods "demo-train-x" is forbidden: exceeded quota: small, limited: pods=0'


def refusal(moment: str) -> dict[str, Any]:
    return {"reason": "FailedCreate", "message": QUOTA, "lastTimestamp": moment}


@pytest.mark.law("L2", "F5")
@pytest.mark.parametrize("end", IGNORED)
def test_a_pod_whose_end_is_ignored_leaves_nothing_unsettled(end: dict[str, Any]) -> None:
    gone = pod(phase="Failed", started=True, **end)
    run = read(JobObservation(job(), (gone,)))
    assert (run.is_unsettled, run.succeeded.reason) == (False, "Retrying")
    refused = read(JobObservation(job(), (gone,), warnings=(refusal("2026-01-01T00:00:09Z"),)))
    assert (refused.is_unsettled, refused.scheduled.reason) == (False, "QuotaExceeded")
    assert refused.recheck_after


@pytest.mark.law("L2", "F5")
def test_a_refusal_is_told_though_the_pod_before_is_not_counted_yet() -> None:
    dead = pod(phase="Failed", started=True, containers={"train": _terminated(70, "Error", "")})
    run = read(JobObservation(job(), (dead,), warnings=(refusal("2026-01-01T00:00:09Z"),)))
    assert (run.is_unsettled, run.scheduled.reason) == (False, "QuotaExceeded")


@pytest.mark.law("L2", "F6")
def test_a_refusal_from_before_the_newest_pod_is_over() -> None:
    dead = pod(
        phase="Failed",
        started=True,
        created="2026-01-01T01:00:00Z",
        containers={"train": _terminated(70, "Error", "boom")},
    )
    run = read(JobObservation(job(failed=1), (dead,), warnings=(refusal("2026-01-01T00:06:00Z"),)))
    assert run.succeeded.reason == "Retrying"


@pytest.mark.law("L2", "F6")
def test_a_refusal_from_before_the_job_was_resumed_is_over() -> None:
    resumed = job()
    resumed["status"]["startTime"] = "2026-01-01T01:00:00Z"
    before, after = refusal("2026-01-01T00:06:00Z"), refusal("2026-01-01T01:00:00Z")
    assert read(JobObservation(resumed, warnings=(before,))).scheduled.reason == "Waiting"
    assert read(JobObservation(resumed, warnings=(before, after))).scheduled.reason == "QuotaExceeded"


@pytest.mark.law("L2", "F6")
def test_a_volume_that_was_late_is_not_told_any_more() -> None:
    event = {"reason": "FailedMount", "message": "late", "lastTimestamp": "2026-01-01T00:00:00Z"}
    ready = {"type": "PodReadyToStartContainers", "status": "True"}
    starting = pod(node="n1", conditions=[ready], containers={"train": waiting("ContainerCreating", "")})
    assert read(JobObservation(job(), (starting,), warnings=(event,))).running.reason == "Preparing"


def test_succeeded_with_its_summary() -> None:
    done = pod(phase="Succeeded", started=True, containers={"train": {"terminated": {"exitCode": 0, "message": "{}"}}})
    run = read(JobObservation(job(final="Complete", succeeded=1), (done,)))
    assert (run.phase, run.message, run.attempts) == (JobPhase.SUCCEEDED, "{}", 1)
    assert read(JobObservation(job(final="Complete", succeeded=1))).message is None


def test_suspended() -> None:
    run = read(JobObservation(job(suspend=True)))
    assert (run.phase, run.succeeded.status) == (JobPhase.SUSPENDED, ConditionStatus.UNKNOWN)


def _terminated(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}
