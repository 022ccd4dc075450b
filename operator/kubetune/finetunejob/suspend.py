"""Stopping a training and letting it go on: by its user, by its place in line, and by Kueue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact, get_condition
from kubetune.common.decision import Patch, Ref, Stop
from kubetune.common.job_status import JobCondition, JobPhase
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.runs import decide as runs
from kubetune.runs.deadline import suspend_body, tracking_body, used_seconds
from kubetune.runs.decide import suspension
from kubetune.runs.read import STOPPING_SECONDS, SUSPENDED_TEXT, JobObservation, Run, is_suspended
from kubetune.workload.explain import explain_failure
from kubetune.workload.misfit import TOLERATED, tolerates_its_gpu
from kubetune.workload.pods import is_finished, newest
from kubetune_contract import ExitCode

from .api import FineTuneJob, QueueStatus, Reason
from .job import stop_grace
from .job.resources import MAIN, PREFLIGHT, job_name
from .observed import Look, Wait

Object = dict[str, Any]


def held_run(phase: JobPhase, reason: str, text: str, run: Run) -> Run:
    """A training that does not run, and is not to."""
    no = Fact(ConditionStatus.FALSE, reason, text)
    return Run(
        phase=phase,
        scheduled=no,
        running=no,
        succeeded=Fact(ConditionStatus.UNKNOWN, reason, text),
        attempts=run.attempts,
        failure=run.failure,
        started=run.started,
    )


def suspended(look: Look, run: Run) -> Run:
    """As its user wants it: while its pod still saves what it has, and afterwards."""
    if run.phase in {JobPhase.RUNNING, JobPhase.SUSPENDING} and run.pod:
        text = f"Pod {run.pod} finishes its step, saves what it has and stops; it keeps its place until it has."
        held = held_run(JobPhase.SUSPENDING, Shared.SUSPENDING, text, run)
        return replace(held, pod=run.pod, pod_ip=run.pod_ip, recheck_after=run.recheck_after or STOPPING_SECONDS)
    held = held_run(JobPhase.SUSPENDED, Shared.SUSPENDED, _kept_text(look), run)
    return replace(held, recheck_after=run.recheck_after)


def _kept_text(look: Look) -> str:
    """What is kept, in the words of the pod that stopped: they are read while it is still there, and kept."""
    dead = newest(pod for pod in look.observed.run.pods if pod.get("status", {}).get("phase") == "Failed")
    said = explain_failure(dead, MAIN) if dead else None
    if said and said.exit_code == ExitCode.PREEMPTED and not said.message.startswith("Container "):
        return sentences(SUSPENDED_TEXT, f"Its pod said: {said.message}")
    told = get_condition(look.job.status.conditions, JobCondition.SUCCEEDED)
    if told and told.reason == Shared.SUSPENDED:
        return told.message
    step = look.job.status.progress.last_checkpoint if look.job.status.progress else None
    return sentences(SUSPENDED_TEXT, f"The newest checkpoint that is known of is that of step {step}" if step else "")


def queued(wait: Wait, run: Run) -> tuple[Run, dict[str, Any]]:
    """The run, and the members of the status that say what it waits for."""
    shown = {"queue": QueueStatus(reason=wait.reason, position=wait.position, message=wait.message)}
    if wait.misfit:
        # Why it could not start even in its turn is what its user can do something about.
        text = f"{wait.misfit.message} {wait.message}"
        return held_run(JobPhase.QUEUED, wait.misfit.reason, text, run), shown
    return held_run(JobPhase.QUEUED, wait.reason, wait.message, run), shown


def waits_for_kueue(job: FineTuneJob) -> Wait:
    """What is known without a right to read Kueue's own objects."""
    text = (
        f"Waits for Kueue to admit it from queue {job.spec.queue_name}; kubectl get workloads -n "
        f"{job.metadata.namespace} tells why it does not. Kueue must be installed and have a LocalQueue of that name."
    )
    return Wait(Reason.QUEUED, text)


def is_kept_by_kueue(job: FineTuneJob, child: Object) -> bool:
    """Suspended, and not by its user: Kueue has not let it begin, or has taken its place back."""
    return job.spec.queue_name is not None and not job.spec.suspend and is_suspended(child)


def used(look: Look) -> int | None:
    """Seconds used of the deadline, worth a write once it is stopped; None while it runs or has no deadline."""
    child = look.observed.run.job
    if child is None or not (is_suspended(child) or look.job.spec.suspend):
        return look.job.status.active_seconds
    return spent_so_far(look)


def spent_so_far(look: Look) -> int | None:
    """Seconds used of the deadline now. Recorded together with the progress, so that a Job which somebody deletes does
    not begin its time anew."""
    child = look.observed.run.job
    return used_seconds(child, look.job.spec.active_deadline_seconds, look.now) if child else None


def stop_pods(look: Look) -> tuple[Stop, ...]:
    """Evicts the pods that would be killed in the middle of saving if they were stopped with their own grace; whoever
    asks first decides, for a grace under way can only be shortened."""
    needed = stop_grace.measured(look.observed.progress)
    namespace = look.job.metadata.namespace
    names = stop_grace.too_short(look.observed.run.pods, needed)
    return tuple(Stop(Ref("v1", "Pod", namespace, name), grace_seconds=needed) for name in names)


def give_back(look: Look) -> tuple[Patch, ...]:
    """Suspends a Job whose pod waits for a node in vain, and notes on it what only the pod tells."""
    child, meta = look.observed.run.job, look.job.metadata
    if child is None or is_suspended(child):
        return ()
    tolerated = all(tolerates_its_gpu(pod["spec"]) for pod in look.observed.run.pods if not is_finished(pod))
    noted: Object = {"annotations": {TOLERATED: str(tolerated).lower()}}
    # A Job whose pod has begun since it was read has changed, too; then it is looked at again, not stopped.
    if version := child["metadata"].get("resourceVersion"):
        noted["resourceVersion"] = version
    body = {"metadata": noted} | suspend_body(child, look.now)
    return (Patch(Ref("batch/v1", "Job", meta.namespace, job_name(meta.name)), body),)


def withdraw(look: Look) -> tuple[Stop, ...]:
    """Stops a Job that Kueue has a say in by deleting it: Kueue resumes a suspended Job whose Workload is admitted, and
    a Workload goes with its Job, which gives its quota back. The Job stays until its pods are gone, so that no second
    one is made beside them, and until its Workload is, which Kueue would take for that of the next Job of this name."""
    meta = look.job.metadata
    job = Stop(Ref("batch/v1", "Job", meta.namespace, job_name(meta.name)))
    return (*stop_pods(look), job)


def patches(look: Look, name: str, observation: JobObservation, run: Run) -> tuple[Patch, ...]:
    """What brings the Job called ``name`` in step with spec.suspend, keeps count of its time, and leaves it no tries
    that cannot help."""
    child, job = observation.job, look.job
    if child is None or run.phase in {JobPhase.FAILED, JobPhase.SUCCEEDED}:
        return ()
    is_training = name == job_name(job.metadata.name)
    if job.spec.queue_name is not None and is_training:
        changed = tracking_body(child)
    else:
        changed = suspension(child, look.now, suspend=job.spec.suspend)
    return runs.patches(job.metadata, observation, MAIN if is_training else PREFLIGHT, changed)
