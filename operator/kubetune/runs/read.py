"""A Job and its pods, read as one run: where it is, and why it is not further."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.job_status import Failure, JobPhase
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.workload.crowd import is_in_crowd
from kubetune.workload.explain import WAITING_TEXT, explain_failure, explain_missing_pod, explain_waiting
from kubetune.workload.gpu import describe, read_demand
from kubetune.workload.job import is_ignored
from kubetune.workload.misfit import is_misfit
from kubetune.workload.pods import container_state, is_finished, newest, parse_time, started_at, termination_message

from .main_memory import is_out_of_main_memory

Object = dict[str, Any]

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
RECHECK_SECONDS = 10.0
"""A pod that is stuck before its first container shows the reason in Events only, which are not watched for pods."""
CROWD_SECONDS = 60.0
"""A pod that waits for CPU or memory is told by an event when it gets them; until then only who holds them changes."""
STOPPING_SECONDS = 2.0
"""A pod that saves what it has says so to whoever asks, and to nobody else."""
SUSPENDED_TEXT = "Suspended; set suspend to false to go on."
_PASSING = frozenset({Shared.WAITING, Shared.PREPARING, Shared.UNSCHEDULABLE})
"""Reasons that pass by themselves: while a pod is another try, that is what its user should read."""


@dataclass(frozen=True)
class JobObservation:
    """What was read; the default is a Job that does not exist."""

    job: Object | None = None
    pods: tuple[Object, ...] = ()
    warnings: tuple[Object, ...] = ()
    """Warning Events about the Job while it has no pod, or about the pod while it has not started."""
    placement: Fact | None = None
    """Why no node takes a pod that is on none or about to be made, as nodes and labels tell; None when they do not."""


@dataclass(frozen=True)
class Run:
    """The run's state as facts for the conditions Scheduled, Running and Succeeded."""

    phase: JobPhase
    scheduled: Fact
    running: Fact
    succeeded: Fact
    attempts: int = 0
    """Pods started so far."""
    failure: Failure | None = None
    """The last attempt's, unless the run has succeeded."""
    message: str | None = None
    """Termination message of the main container once the run has succeeded; None when its pod is gone."""
    pod: str | None = None
    pod_ip: str | None = None
    """Set while the main container runs."""
    started: datetime | None = None
    finished: datetime | None = None
    is_unsettled: bool = False
    """The Job is being deleted, or a pod has ended and the Job controller has not yet said what that means: what is
    known now stays, the next word is a moment away."""
    recheck_after: float | None = None
    """Seconds after which to look again although no event may come."""


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def final_condition(job: Object) -> Object | None:
    """The Job's condition Complete or Failed once it is True."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            found: Object = condition
            return found
    return None


def read_run(observation: JobObservation, *, main: str) -> Run:
    """``main`` is the name of the container whose termination message is the result."""
    job = observation.job
    if job is None:
        return _misplaced(observation.placement) or _waiting(Shared.WAITING, WAITING_TEXT)
    if job["metadata"].get("deletionTimestamp"):
        return replace(_waiting(Shared.WAITING, "The Job is being deleted."), is_unsettled=True, recheck_after=2.0)
    final = final_condition(job)
    if final is not None:
        read = _succeeded if final["type"] == "Complete" else _failed
        return read(observation, main, final)
    if is_suspended(job):
        return _suspended(observation, main)
    pod = newest(pod for pod in observation.pods if not is_finished(pod))
    if pod is None:
        return _without_pod(observation, main)
    return _with_pod(observation, main, pod)


def _misplaced(fact: Fact | None) -> Run | None:
    if fact is None:
        return None
    waiting = _waiting(fact.reason, fact.message)
    return replace(waiting, scheduled=fact, recheck_after=RECHECK_SECONDS)


def _waiting(reason: str, message: str) -> Run:
    return Run(
        JobPhase.PENDING,
        scheduled=Fact(UNKNOWN, reason, message),
        running=Fact(FALSE, reason, message),
        succeeded=Fact(UNKNOWN, reason, message),
    )


def _succeeded(observation: JobObservation, main: str, final: Object) -> Run:
    pod = newest(pod for pod in observation.pods if pod.get("status", {}).get("phase") == "Succeeded")
    return Run(
        JobPhase.SUCCEEDED,
        scheduled=Fact(TRUE, Shared.SCHEDULED, "A node was found."),
        running=Fact(FALSE, Shared.COMPLETED, "The pod has finished."),
        succeeded=Fact(TRUE, Shared.COMPLETED, "Completed."),
        attempts=_attempts(observation),
        message=termination_message(pod, main) if pod else None,
        pod=pod["metadata"]["name"] if pod else None,
        started=_started(observation),
        finished=parse_time(final.get("lastTransitionTime")),
    )


def _failed(observation: JobObservation, main: str, final: Object) -> Run:
    attempts = _attempts(observation)
    failure = _last_failure(observation, main)
    reason, message = final.get("reason", "Error"), final.get("message", "")
    limit = observation.job["spec"].get("backoffLimit") if observation.job else None
    if reason == Shared.DEADLINE_EXCEEDED:
        seconds = observation.job["spec"].get("activeDeadlineSeconds") if observation.job else None
        text = f"It ran longer than activeDeadlineSeconds ({seconds}) and was stopped. Raise it or give it less to do."
        failure = Failure(reason=reason, message=text, pod=failure.pod if failure else None)
        fact = Fact(FALSE, reason, text)
    elif failure is None:
        failure = Failure(reason=reason, message=f"{message} The failed pod is gone, so its own message is lost.")
        fact = Fact(FALSE, reason, failure.message)
    elif reason == Shared.BACKOFF_LIMIT_EXCEEDED and _died_alike(observation, main, failure):
        text = f"Attempt {attempts} ended as an earlier one did, so no more are made. {failure.message}"
        fact = Fact(FALSE, failure.reason, text)
    elif reason == Shared.BACKOFF_LIMIT_EXCEEDED and attempts > 1:
        text = f"{attempts} attempts failed (backoffLimit {limit}). The last: {failure.reason}: {failure.message}"
        fact = Fact(FALSE, reason, text)
    else:
        fact = Fact(FALSE, failure.reason, failure.message)
    return Run(
        JobPhase.FAILED,
        scheduled=Fact(TRUE, Shared.SCHEDULED, "A node was found.") if attempts else Fact(FALSE, reason, fact.message),
        running=Fact(FALSE, fact.reason, "The pod has failed." if attempts else fact.message),
        succeeded=fact,
        attempts=attempts,
        failure=failure,
        pod=failure.pod,
        started=_started(observation),
        finished=parse_time(final.get("lastTransitionTime")),
    )


def _died_alike(observation: JobObservation, main: str, last: Failure) -> bool:
    """Whether main memory has killed the last pod and another one."""
    dead = [pod for pod in observation.pods if pod.get("status", {}).get("phase") == "Failed"]
    killed = [pod for pod in dead if is_out_of_main_memory(explain_failure(pod, main))]
    return is_out_of_main_memory(last) and len(killed) > 1


def _suspended(observation: JobObservation, main: str) -> Run:
    stopping = newest(pod for pod in observation.pods if not is_finished(pod) and started_at(pod))
    phase, reason, text = JobPhase.SUSPENDED, Shared.SUSPENDED, SUSPENDED_TEXT
    if stopping:
        phase, reason = JobPhase.SUSPENDING, Shared.SUSPENDING
        text = f"Pod {stopping['metadata']['name']} is stopping; it keeps its place until it has."
    is_alive = stopping is not None and "running" in container_state(stopping, main)
    return Run(
        phase,
        scheduled=Fact(FALSE, reason, text),
        running=Fact(FALSE, reason, text),
        succeeded=Fact(UNKNOWN, reason, text),
        attempts=_attempts(observation),
        failure=_last_failure(observation, main, is_stopped=True),
        pod=stopping["metadata"]["name"] if stopping else None,
        pod_ip=stopping.get("status", {}).get("podIP") if stopping and is_alive else None,
        started=_started(observation),
        recheck_after=STOPPING_SECONDS if stopping else None,
    )


def _without_pod(observation: JobObservation, main: str) -> Run:
    """The Job is active, yet nothing of it is: not begun, between two attempts, or refused by the API server."""
    refusal = explain_missing_pod(observation.warnings, _latest_try(observation))
    if refusal is None and _is_unsettled(observation):
        return replace(_waiting(Shared.WAITING, "The pod has ended."), is_unsettled=True, recheck_after=RECHECK_SECONDS)
    attempts, failure = _attempts(observation), _last_failure(observation, main)
    if refusal:
        fact = refusal
    elif failure:
        text = f"The last pod ended early and is tried again. {failure.reason}: {failure.message}"
        if _failures(observation):
            count, most = _failures(observation), _most_attempts(observation)
            text = f"Attempt {count} of {most} failed and is tried again. {failure.reason}: {failure.message}"
        fact = Fact(FALSE, Shared.RETRYING, text)
    else:
        fact = observation.placement or Fact(UNKNOWN, Shared.WAITING, WAITING_TEXT)
    return Run(
        JobPhase.PENDING,
        scheduled=fact,
        running=Fact(FALSE, fact.reason, fact.message),
        succeeded=Fact(UNKNOWN, fact.reason, fact.message),
        attempts=attempts,
        failure=failure,
        started=_started(observation),
        recheck_after=RECHECK_SECONDS if refusal else None,
    )


def _with_pod(observation: JobObservation, main: str, pod: Object) -> Run:
    name, failure = pod["metadata"]["name"], _last_failure(observation, main)
    common: dict[str, Any] = {
        "attempts": _attempts(observation),
        "pod": name,
        "started": _started(observation),
        "failure": failure,
    }
    state = container_state(pod, main)
    # A container that has just ended is still the running phase: what it left is read once its pod is finished.
    if "running" in state or "terminated" in state:
        fact = Fact(TRUE, Shared.RUNNING, sentences(f"Pod {name} is running", _another_try(observation, failure)))
        return Run(
            JobPhase.RUNNING,
            scheduled=_scheduled(pod),
            running=fact,
            succeeded=Fact(UNKNOWN, Shared.RUNNING, fact.message),
            pod_ip=pod.get("status", {}).get("podIP") if "running" in state else None,
            **common,
        )
    waiting = explain_waiting(pod, observation.warnings, observation.placement)
    # Neither what a node does before the first container nor a change of nodes is watched.
    is_unwatched = bool(pod["spec"].get("nodeName")) or observation.placement is not None
    # One that no node can take holds a place that others may want; that is not to wait for a minute.
    recheck = CROWD_SECONDS if is_in_crowd(pod) and not is_misfit(observation.placement) else RECHECK_SECONDS
    is_retry = failure is not None and waiting.reason in _PASSING
    text = sentences(waiting.message, _another_try(observation, failure))
    return Run(
        JobPhase.PENDING,
        scheduled=_scheduled(pod) if pod["spec"].get("nodeName") else waiting,
        running=_not_running(waiting),
        succeeded=Fact(UNKNOWN, Shared.RETRYING if is_retry else waiting.reason, text),
        recheck_after=recheck if is_unwatched else None,
        **common,
    )


def _not_running(waiting: Fact) -> Fact:
    """What the condition Scheduled says of a pod without a node is not said twice."""
    text = "Its pod has no node yet." if waiting.reason == Shared.UNSCHEDULABLE else waiting.message
    return Fact(FALSE, waiting.reason, text)


def _another_try(observation: JobObservation, failure: Failure | None) -> str:
    """Which try this is and what ended the one before; empty for the first."""
    if failure is None:
        return ""
    this = "The pod before ended early"
    if _failures(observation):
        this = f"It is attempt {_failures(observation) + 1} of {_most_attempts(observation)}; the one before failed"
    return f"{this}. {failure.reason}: {failure.message}"


def _failures(observation: JobObservation) -> int:
    """Failed attempts as backoffLimit counts them: those that the failure policy ignores are none."""
    failed: int = observation.job.get("status", {}).get("failed", 0) if observation.job else 0
    return failed


def _most_attempts(observation: JobObservation) -> int:
    limit: int = observation.job["spec"].get("backoffLimit", 0) if observation.job else 0
    return limit + 1


def _scheduled(pod: Object) -> Fact:
    demand = read_demand(pod["spec"])
    wanted = f", one with {describe(demand)}" if demand and (demand.memory_bytes or demand.compute_capability) else ""
    return Fact(TRUE, Shared.SCHEDULED, f"On node {pod['spec'].get('nodeName', '?')}{wanted}.")


def _last_failure(observation: JobObservation, main: str, *, is_stopped: bool = False) -> Failure | None:
    """``is_stopped``: pods that are being deleted were asked to stop, which is no failure."""
    dead = (pod for pod in observation.pods if pod.get("status", {}).get("phase") == "Failed")
    pod = newest(pod for pod in dead if not (is_stopped and pod["metadata"].get("deletionTimestamp")))
    return explain_failure(pod, main) if pod else None


def _latest_try(observation: JobObservation) -> str:
    """When the Job began, or made its newest pod: what Events told before is over."""
    job = observation.job or {}
    made = (pod["metadata"].get("creationTimestamp") or "" for pod in observation.pods)
    return max(made, default="") or job.get("status", {}).get("startTime") or ""


def _is_unsettled(observation: JobObservation) -> bool:
    """More pods have ended than the Job has counted. Those that its failure policy ignores it never counts."""
    ended = sum(1 for pod in observation.pods if is_finished(pod) and not is_ignored(pod))
    return ended > _counted(observation)


def _counted(observation: JobObservation) -> int:
    status: Object = observation.job.get("status", {}) if observation.job else {}
    counted: int = status.get("failed", 0) + status.get("succeeded", 0)
    return counted


def _attempts(observation: JobObservation) -> int:
    """The Job forgets pods that its policy ignores, the pod list forgets deleted ones; the larger number is nearer."""
    running = sum(1 for pod in observation.pods if started_at(pod) and not is_finished(pod))
    present = sum(1 for pod in observation.pods if started_at(pod))
    return max(present, _counted(observation) + running)


def _started(observation: JobObservation) -> datetime | None:
    moments = [moment for moment in map(started_at, observation.pods) if moment]
    return min(moments, default=None)
