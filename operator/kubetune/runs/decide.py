"""What everything that runs once does, whatever its kind: refuse -> build a Job -> follow -> suspend -> complete or
lose.

A kind brings its own steps: a builder, a reader of the result, and words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.decision import Decision, Patch, Ref
from kubetune.common.job_status import Failure, JobPhase, JobStatus
from kubetune.common.meta import ObjectMeta, Resource
from kubetune.common.pod_options import JobOptions
from kubetune.common.reasons import Shared
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.inputs import Problem

from .deadline import explain_deadline, suspend_body
from .main_memory import fewer_tries
from .read import JobObservation, Run, is_suspended, read_run

Object = dict[str, Any]

PROBLEM_SECONDS = 5.0
"""A missing claim, ConfigMap or Secret is not watched; once created it is found this much later."""
CONFLICT_SECONDS = 60.0
"""Somebody has to delete or rename something; nobody tells when."""


@dataclass(frozen=True)
class Steps:
    """What a kind does about its Job once the run is known to be there."""

    complete: Callable[[Run], Decision]
    fail: Callable[[Run], Decision]
    follow: Callable[[Run], Decision]
    """Pending, running, stopping or suspended."""


def step(status: JobStatus, options: JobOptions, observation: JobObservation, main: str, steps: Steps) -> Decision:
    """One step of a run whose Job exists and is ours. ``main`` is the container whose last words are the result."""
    run = read_run(observation, main=main)
    if run.is_unsettled:
        # What it means that a pod has ended is a moment away; what is known stays.
        return Decision(status=status.to_dict(), requeue_after=run.recheck_after)
    if run.phase is JobPhase.SUCCEEDED:
        return steps.complete(run)
    if run.phase is JobPhase.FAILED:
        return steps.fail(explain_deadline(run, observation.job or {}, options.active_deadline_seconds))
    return steps.follow(run)


def find_foreign(owner: Resource, children: Iterable[Object | None]) -> Problem | None:
    """Why nothing can be done while a Job of the name that is needed belongs to somebody else."""
    meta, kind = owner.metadata, owner.info.kind
    for child in children:
        if child is not None and not is_owned_by(child, meta.uid):
            text = (
                f"Job {meta.namespace}/{child['metadata']['name']} exists and does not belong to this {kind}. It is "
                f"left alone; delete it or give this {kind} another name."
            )
            return Problem(Shared.NAME_CONFLICT, text)
    return None


def lose(run: Run, what: str, remedy: str) -> Run:
    """A run whose Job says that it completed while nobody knows its result. ``what`` names the run, and ``remedy`` says
    where the result should be and what to do: without its digest it must not be trusted, and no gate be opened by a
    guess."""
    left = "left no summary that can be read" if run.pod else "was deleted before its summary was read"
    text = f"The {what} completed, but its pod {left}, {remedy}"
    return replace(
        run,
        phase=JobPhase.FAILED,
        succeeded=Fact(ConditionStatus.FALSE, Shared.RESULT_LOST, text),
        failure=Failure(reason=Shared.RESULT_LOST, message=text, pod=run.pod),
    )


def patches(meta: ObjectMeta, observation: JobObservation, main: str, suspension: Object | None) -> tuple[Patch, ...]:
    """What a Job that has not ended is changed by: no tries that cannot help, and ``suspension``, which brings it in
    step with what its user wants."""
    child = observation.job
    if child is None:
        return ()
    ref = Ref("batch/v1", "Job", meta.namespace, child["metadata"]["name"])
    return tuple(Patch(ref, body) for body in (fewer_tries(child, observation.pods, main), suspension) if body)


def suspension(child: Object, now: datetime, *, suspend: bool) -> Object | None:
    """The merge patch that suspends the Job or lets it go on; None when it is as it should be."""
    if is_suspended(child) == suspend:
        return None
    return suspend_body(child, now) if suspend else {"spec": {"suspend": False}}


def is_due(stored: datetime | None, new: datetime | None, interval: float) -> bool:
    """Whether figures of the time ``new`` are worth a write of their own after those of ``stored``, by the clock of
    whoever measured them; ``interval`` is in seconds, and may be infinite."""
    return stored is None or new is None or (new - stored).total_seconds() >= interval
