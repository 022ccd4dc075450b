"""From facts to the part of the status that everything that runs once has in common, and to the Events about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from kubetune.common.conditions import Condition, ConditionStatus, Fact, get_condition, set_condition
from kubetune.common.decision import Event
from kubetune.common.doubt import attempt
from kubetune.common.job_status import Failure, JobCondition, JobPhase, JobStatus
from kubetune.common.reasons import Shared
from kubetune.workload.inputs import Problem
from kubetune_contract import ExitCode

from .read import Run

StatusType = TypeVar("StatusType", bound=JobStatus)

_UNTOLD = {"Accepted", "Waiting", "Preparing", "Scheduled", "Preflight", "PreflightSkipped"} | {
    "NotFinished",
    "Succeeded",
    "Failed",
    "LoadingModel",
    "TryingLongestBatch",
    "Training",
    "Validating",
    "Saving",
    "Publishing",
    "WaitingForStore",
    "WaitingForTracker",
    "Suspending",
}
"""Reasons every run passes through; an Event for each would be noise and one more write per object."""
_NO_WARNING = {"Suspended", "Completed", "Running", "Queued", "Unschedulable", "ScaledToZero"}
"""What is meant to happen, or passes by itself."""
NOT_FINISHED_TEXT = "It has not ended; the condition Succeeded tells how far it is."


def is_final(status: JobStatus) -> bool:
    """Whether the run has ended for good and was recorded: from then on nothing can start it again.

    The record is ``completionTime``, written together with the result; a Job deleted afterwards is not missed.
    """
    return status.completion_time is not None


@dataclass(frozen=True)
class Stamp:
    """What every condition of one pass is marked with."""

    now: datetime
    generation: int


def accepted() -> Fact:
    return Fact(ConditionStatus.TRUE, Shared.ACCEPTED, "The spec is usable, and what it names was found so far.")


def accepted_unless(fact: Fact, reason: str, failure: Failure | None, message: str) -> Fact:
    """``fact``, unless a pod has found something that the spec names missing or closed: nothing is accepted then.
    ``reason`` and ``message`` are those of what keeps the pod from starting."""
    if fact.status is not ConditionStatus.TRUE:
        return fact
    if failure and failure.exit_code in _NOT_FOUND:
        return Fact(ConditionStatus.FALSE, failure.reason, failure.message)
    return Fact(ConditionStatus.FALSE, reason, message) if reason in _MISSING else fact


def accepted_by(fact: Fact, run: Run) -> Fact:
    """``accepted_unless`` of a run."""
    return accepted_unless(fact, run.succeeded.reason, run.failure, run.succeeded.message)


_MISSING = {Shared.SECRET_NOT_FOUND, Shared.CONFIG_MAP_NOT_FOUND, Shared.CLAIM_NOT_FOUND}
_NOT_FOUND = {ExitCode.INPUT_NOT_FOUND, ExitCode.PERMISSION}


def finished(run: Run) -> Fact:
    """The condition Finished: True at either end, and the reason says which."""
    if run.phase is JobPhase.SUCCEEDED:
        return Fact(ConditionStatus.TRUE, Shared.SUCCEEDED, run.succeeded.message)
    if run.phase is JobPhase.FAILED:
        return Fact(ConditionStatus.TRUE, Shared.FAILED, f"{run.succeeded.reason}: {run.succeeded.message}")
    return Fact(ConditionStatus.FALSE, Shared.NOT_FINISHED, NOT_FINISHED_TEXT)


def settle(status: JobStatus, stamp: Stamp, *, suspend: bool) -> tuple[dict[str, Any], tuple[Event, ...]]:
    """Members of the status of a run that has ended which may still change, and what its user should hear: the spec was
    edited since, or an older operator wrote the status, which knew no condition Finished."""
    members: dict[str, Any] = {}
    events: tuple[Event, ...] = ()
    if get_condition(status.conditions, JobCondition.FINISHED) is None:
        summary = get_condition(status.conditions, JobCondition.SUCCEEDED)
        fact = Fact(ConditionStatus.TRUE, str(status.phase), summary.message if summary else "")
        members["conditions"] = set_facts(status.conditions, {JobCondition.FINISHED: fact}, stamp)
    if status.observed_generation != stamp.generation:
        members["observed_generation"] = stamp.generation
        if suspend:
            text = f"suspend: true has no effect: it has {str(status.phase).lower()} already, and nothing of it runs."
            events = (Event("AlreadyFinished", text, warning=True),)
    return members, events


def job_conditions(old: Iterable[Condition], accepted_fact: Fact, run: Run, stamp: Stamp) -> tuple[Condition, ...]:
    """The conditions of a Job-like kind; the summary's message is the run's."""
    facts = {
        JobCondition.ACCEPTED: accepted_by(accepted_fact, run),
        JobCondition.SCHEDULED: run.scheduled,
        JobCondition.RUNNING: run.running,
        JobCondition.SUCCEEDED: run.succeeded,
        JobCondition.FINISHED: finished(run),
    }
    return set_facts(old, facts, stamp)


def set_facts(old: Iterable[Condition], facts: dict[Any, Fact], stamp: Stamp) -> tuple[Condition, ...]:
    """``old`` with the named conditions replaced."""
    conditions = tuple(old)
    for type_, fact in facts.items():
        conditions = set_condition(
            conditions, str(type_), fact.status, fact.reason, fact.message, now=stamp.now, generation=stamp.generation
        )
    return conditions


def refused_run(problem: Problem) -> Run:
    """The facts of a run that cannot begin because of ``problem``."""
    fact = Fact(ConditionStatus.FALSE, problem.reason, problem.message)
    return Run(
        JobPhase.PENDING,
        scheduled=Fact(ConditionStatus.FALSE, problem.reason, "Nothing is started before the spec is accepted."),
        running=Fact(ConditionStatus.FALSE, problem.reason, "Nothing is started before the spec is accepted."),
        succeeded=Fact(ConditionStatus.UNKNOWN, fact.reason, fact.message),
    )


def job_status(old: JobStatus, conditions: tuple[Condition, ...], run: Run, stamp: Stamp) -> dict[str, Any]:
    """The members of JobStatus as keyword arguments of a kind's own status."""
    ended = run.phase in {JobPhase.SUCCEEDED, JobPhase.FAILED}
    return {
        "observed_generation": stamp.generation,
        "conditions": conditions,
        "phase": run.phase,
        # Pods that a suspension has removed are forgotten by their Job.
        "attempts": max(run.attempts, old.attempts or 0),
        "start_time": old.start_time or run.started,
        "completion_time": (run.finished or stamp.now.replace(microsecond=0)) if ended else None,
        "failure": run.failure,
    }


def keep(old: StatusType, members: Mapping[str, Any]) -> StatusType:
    """``old`` with ``members`` in place of its own: what a pass does not name stays as it was. Raises
    pydantic.ValidationError for members that cannot be."""
    return type(old)(**{**dict(old), **members})


def fitting(kind: type[JobStatus], members: dict[str, Any]) -> dict[str, Any]:
    """Those of ``members``, which a pod has told, that a status of this kind can have, each looked at by itself."""
    return {name: value for name, value in members.items() if attempt(lambda one: kind(**one), {name: value})}


def transitions(old: Iterable[Condition], new: Iterable[Condition]) -> tuple[Event, ...]:
    """One Event for every reason that newly appeared, the summary's message first."""
    before = tuple(old)
    events: dict[str, Event] = {}
    for condition in reversed(tuple(new)):
        was = get_condition(before, condition.type)
        if was and was.status == condition.status and was.reason == condition.reason:
            continue
        if condition.reason in _UNTOLD:
            continue
        is_bad = condition.status is not ConditionStatus.TRUE and condition.reason not in _NO_WARNING
        events.setdefault(condition.reason, Event(condition.reason, condition.message, warning=is_bad))
    return tuple(events.values())
