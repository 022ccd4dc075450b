"""Why a pod does not exist, does not start or has died, in words a user can act on.

Reasons are those of the kinds' ``Reason`` enums, or the workload's own (a FailureSummary's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.doubt import clip, read
from kubetune.common.job_status import FAILURE_MESSAGE_LIMIT, FAILURE_REASON_LIMIT, Failure
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.common.wording import explain_refusal, refusal_reason
from kubetune_contract import ExitCode
from kubetune_contract.last_words import last_words
from kubetune_contract.runtime import FailureSummary

from .pods import condition, container_state, container_statuses
from .secrets import explain_missing, name_secret, use_in

Object = dict[str, Any]


WAITING_TEXT = "Waiting for the pod to be created and scheduled."
"""One text for no Job, no pod and a pod nobody has looked at yet: these pass too fast to be told apart."""

NOTICED_TEXT = "The node looks again by itself, within half a minute."
"""What a kubelet does about a container that it cannot create."""

EXIT_REASONS = {
    ExitCode.BAD_CONFIG: Shared.BAD_CONFIG,
    ExitCode.BAD_DATA: Shared.BAD_DATA,
    ExitCode.INPUT_NOT_FOUND: Shared.INPUT_NOT_FOUND,
    ExitCode.UNAVAILABLE: Shared.UNAVAILABLE,
    ExitCode.BUG: Shared.ERROR,
    ExitCode.PREEMPTED: Shared.PREEMPTED,
    ExitCode.PERMISSION: Shared.PERMISSION_DENIED,
    ExitCode.OUT_OF_MEMORY: Shared.OUT_OF_MEMORY,
    ExitCode.DIVERGED: "Diverged",
    ExitCode.SUPERSEDED: "Superseded",
    ExitCode.CHANGED: "ContentChanged",
}
_ADVICE = {
    ExitCode.UNAVAILABLE: "The object store or the tracker did not answer.",
    137: "It was killed from outside: by the node, or because it did not stop in time.",
    139: "It crashed in native code (segmentation fault).",
    143: "It was stopped from outside.",
}
"""For an exit without a message of the container's own."""
_MEMORY_ADVICE = {
    "train": "Raise spec.resources.memory; on the CPU a smaller spec.hyperparameters.perDeviceTrainBatchSize or "
    "maxSequenceLength helps, too.",
    "evaluate": "Raise spec.resources.memory; on the CPU a smaller spec.generation.batchSize or maxNewTokens helps, "
    "too.",
    "engine": "Raise spec.resources.memory; on the CPU a smaller spec.engine.maxNumSeqs or maxModelLen helps, too.",
}
"""By container: what else takes part in how much main memory it needs."""
_GPU_MEMORY_ADVICE = {
    "train": "Take method qlora, a shorter sequence, a smaller model or a larger GPU",
    "evaluate": "Lower spec.generation.batchSize or maxNewTokens, or take a larger GPU",
    "engine": "Lower spec.engine.maxNumSeqs or maxModelLen, or take a smaller model or a larger GPU",
}
_PULL_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
}
_BEFORE_START = {"ContainerCreating", "PodInitializing", ""}
_MOUNT_EVENTS = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}


def explain_missing_pod(warnings: Iterable[Object], since: str = "") -> Fact | None:
    """Why the pod of a Job could not be created, from the Job's Warning Events; None without such an Event after
    ``since``, a time as the API server writes it: a pod that was created later has got over what was told before."""
    latest = _latest(event for event in warnings if event.get("reason") == "FailedCreate")
    if latest is None or _moment(latest) < since:
        return None
    text = explain_refusal(latest.get("message", ""))
    return Fact(ConditionStatus.FALSE, refusal_reason(text), text)


def explain_waiting(pod: Object, warnings: Iterable[Object], placement: Fact | None) -> Fact:
    """Why a pod that exists has no running main container yet. ``placement`` is why no node takes its GPUs, as nodes
    and labels tell."""
    if not pod["spec"].get("nodeName"):
        return _explain_unscheduled(pod, placement)
    for status in container_statuses(pod):
        state = status.get("state") or {}
        if "running" in state:
            text = f"Container {status['name']} fetches and checks the inputs."
            return Fact(ConditionStatus.FALSE, Shared.PREPARING, text)
        waiting = state.get("waiting") or {}
        if waiting.get("reason", "") not in _BEFORE_START:
            return _explain_waiting_container(pod, status, waiting)
    event = _latest(event for event in warnings if event.get("reason") in _MOUNT_EVENTS)
    # Its volumes are mounted and its sandbox is made: what an Event said of them is over.
    is_mounted = (condition(pod, "PodReadyToStartContainers") or {}).get("status") == "True"
    if event and not is_mounted:
        text = f"The pod cannot start on node {pod['spec']['nodeName']}: {event.get('message', '')}"
        return Fact(ConditionStatus.FALSE, Shared.CONTAINER_NOT_STARTED, text)
    return Fact(ConditionStatus.FALSE, Shared.PREPARING, f"Node {pod['spec']['nodeName']} is starting the pod.")


def _explain_unscheduled(pod: Object, placement: Fact | None) -> Fact:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled["status"] != "False":
        return placement or Fact(ConditionStatus.UNKNOWN, Shared.WAITING, WAITING_TEXT)
    text = scheduled.get("message", "")
    if scheduled.get("reason") != "Unschedulable":
        return Fact(ConditionStatus.FALSE, Shared.WAITING, text or f"The pod waits: {scheduled.get('reason')}.")
    said = f"The scheduler says: {_without_preemption(text)}"
    if placement:
        return replace(placement, message=sentences(placement.message, said))
    wait = (
        "Waits for room on a node and starts by itself" if "Insufficient" in text else "No node takes the pod as it is"
    )
    return Fact(ConditionStatus.FALSE, Shared.UNSCHEDULABLE, sentences(wait, said))


def _without_preemption(text: str) -> str:
    """What the scheduler says without how it tried to make room, which repeats it."""
    told = re.split(r"[\s,]*(?:(?:no new claims to deallocate|preemption:|still not schedulable)[\s,]*)", text)[0]
    return told or text


def _explain_waiting_container(pod: Object, status: Object, waiting: Object) -> Fact:
    reason, text = waiting["reason"], waiting.get("message", "")
    namespace = pod["metadata"]["namespace"]
    if reason in _PULL_REASONS:
        # The kubelet alternates between the pull's error and the same error behind "Back-off pulling image".
        text = re.sub(r'^Back-off pulling image "[^"]*":? ?(ErrImagePull: )?', "", text)
        message = f"Image {status['image']} cannot be pulled to node {pod['spec'].get('nodeName')}. {text or reason}"
        return Fact(ConditionStatus.FALSE, Shared.IMAGE_PULL_FAILED, sentences(message, _pull_advice(pod)))
    if reason == "CreateContainerConfigError":
        return Fact(ConditionStatus.FALSE, *_explain_config_error(text, namespace, pod))
    if reason == "CrashLoopBackOff":
        failure = failure_of(status, "lastState")
        if failure:
            return Fact(ConditionStatus.FALSE, failure.reason, name_secret(failure.message, pod))
    return Fact(ConditionStatus.FALSE, Shared.CONTAINER_NOT_STARTED, f"Container {status['name']}: {reason}: {text}")


def _pull_advice(pod: Object) -> str:
    """Which Secrets the registry's credentials come from: the kubelet takes one that is missing for none at all."""
    names = [one["name"] for one in pod["spec"].get("imagePullSecrets") or ()]
    if not names:
        return ""
    return (
        f"The chart's images.pullSecrets are to be in namespace {pod['metadata']['namespace']}, too: {', '.join(names)}"
    )


def _explain_config_error(text: str, namespace: str, pod: Object) -> tuple[str, str]:
    secret = re.search(r'secret "([^"]+)" not found', text)
    if secret:
        missing = explain_missing(use_in(pod, secret[1]), namespace)
        return Shared.SECRET_NOT_FOUND, f"{missing} {NOTICED_TEXT}"
    key = re.search(r"couldn't find key (\S+) in Secret (\S+)", text)
    if key:
        field = use_in(pod, key[2].rpartition("/")[2]).field
        return (
            Shared.SECRET_NOT_FOUND,
            f"Secret {key[2]} ({field}) has no key {key[1]}. Add it to the Secret. {NOTICED_TEXT}",
        )
    config_map = re.search(r'configmap "([^"]+)" not found', text)
    if config_map:
        return (
            Shared.CONFIG_MAP_NOT_FOUND,
            f"ConfigMap {namespace}/{config_map[1]} does not exist. Create it. {NOTICED_TEXT}",
        )
    return Shared.CONTAINER_NOT_STARTED, text


def explain_failure(pod: Object, main: str) -> Failure:
    """Why a pod in phase Failed has failed: the first container that failed tells, else the pod itself."""
    name = pod["metadata"]["name"]
    disruption = condition(pod, "DisruptionTarget")
    for status in container_statuses(pod):
        failure = failure_of(status, "state")
        if failure:
            if disruption and disruption["status"] == "True" and failure.reason in {"Error", "Preempted"}:
                break
            message = clip(name_secret(failure.message, pod), FAILURE_MESSAGE_LIMIT)
            return failure.model_copy(update={"pod": name, "message": message})
    if disruption and disruption["status"] == "True":
        return _failure(Shared.PREEMPTED, f"The pod was removed: {disruption.get('message', '')}").model_copy(
            update={"pod": name}
        )
    status = pod.get("status", {})
    reason, text = status.get("reason") or "Error", status.get("message") or ""
    if reason == "Evicted" and re.search("ephemeral local storage|EmptyDir volume", text):
        text = sentences(text, "It filled more of the node's disk than it may: raise spec.resources.scratch")
    if not text:
        text = f"Pod {name} failed without saying why; container {main} was {_state_word(pod, main)}."
    return _failure(reason, text).model_copy(update={"pod": name})


def failure_of(status: Object, member: str) -> Failure | None:
    """The failure in a container status' ``state`` or ``lastState``; None when it did not end with an error."""
    terminated = (status.get(member) or {}).get("terminated")
    if not terminated or terminated.get("exitCode") == 0:
        return None
    code, text = terminated.get("exitCode"), (terminated.get("message") or "").strip()
    if terminated.get("reason") == "OOMKilled":
        message = (
            f"Container {status['name']} used more main memory (not the GPU's) than its limit and was killed "
            f"(OOMKilled). {_MEMORY_ADVICE.get(status['name'], 'Raise spec.resources.memory.')}"
        )
        return _failure(Shared.OUT_OF_MEMORY, message, code)
    summary = read(FailureSummary, text)
    if summary:
        return _failure(summary.reason, summary.message, code)
    reason = EXIT_REASONS.get(code, "Error")
    said = last_words(text)
    tail = f"It said last: {said}" if said else _advice(code, status["name"])
    message = f"Container {status['name']} exited with code {code}. {tail}"
    return _failure(reason, message, code)


def _failure(reason: str, message: str, code: int | None = None) -> Failure:
    """Within the limits of the API, whatever a pod has said."""
    return Failure(
        reason=clip(reason, FAILURE_REASON_LIMIT) or "Error",
        message=clip(message, FAILURE_MESSAGE_LIMIT),
        exit_code=code,
    )


def _advice(code: int | None, container: str) -> str:
    """What an exit code alone tells."""
    if code == ExitCode.OUT_OF_MEMORY:
        remedy = _GPU_MEMORY_ADVICE.get(container, "Take a larger GPU")
        return (
            f"The GPU's memory does not suffice and nothing was left to lower. {remedy}; spec.resources.memory is main "
            "memory and does not help."
        )
    return _ADVICE.get(code or 0, "It left no message.")


def _state_word(pod: Object, main: str) -> str:
    return next(iter(container_state(pod, main)), "never started")


def _latest(events: Iterable[Object]) -> Object | None:
    return max(events, key=_moment, default=None)


def _moment(event: Object) -> str:
    """When it was seen last, as the API server writes it; in UTC, so that texts compare as times do."""
    series: Object = event.get("series") or {}
    found: str = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return found
