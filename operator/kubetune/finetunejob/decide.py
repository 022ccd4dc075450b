"""The whole behaviour of a FineTuneJob as one pure function of what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus
from kubetune.common.decision import Decision, Event, Patch, Ref
from kubetune.common.job_status import JobPhase
from kubetune.settings import Settings
from kubetune.workload.explain import Fact
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.inputs import Problem
from kubetune.workload.run import JobObservation, Run, is_suspended, read_run
from kubetune.workload.status import accepted, is_final, refused_run
from kubetune_contract import Fit

from .api import FineTuneJob, Reason
from .checks import find_problem
from .completion import CONFLICT_SECONDS, complete, keep_final
from .conclude import conclude
from .observed import Look, Observed
from .preflight import Preflight, known_result, read_preflight, run_before_training
from .progress import follow
from .resources import MAIN, build_preflight_job, build_train_job, job_name, preflight_name

Object = dict[str, Any]

PROBLEM_SECONDS = 5.0
"""A missing claim or ConfigMap is not watched; once created it is found this much later."""


def decide(job: FineTuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""
    if is_final(job.status):
        return keep_final(job, observed)
    look = Look(job, observed, now, settings)
    foreign = _find_foreign(job, observed)
    if foreign:
        return _refuse(look, foreign, CONFLICT_SECONDS)
    preflight = read_preflight(job, observed)
    if observed.run.job is not None:
        return _train(look, preflight)
    if not preflight.is_passed:
        return _check(look, preflight)
    return _start(look, preflight)


def _find_foreign(job: FineTuneJob, observed: Observed) -> Problem | None:
    for child in (observed.preflight.job, observed.run.job):
        if child is not None and not is_owned_by(child, job.metadata.uid):
            text = (
                f"Job {job.metadata.namespace}/{child['metadata']['name']} exists and does not belong to this "
                "FineTuneJob. It is left alone; delete it or give this FineTuneJob another name."
            )
            return Problem(Reason.NAME_CONFLICT, text)
    return None


def _refuse(look: Look, problem: Problem, again: float, preflight: Preflight | None = None) -> Decision:
    fact = Fact(ConditionStatus.FALSE, problem.reason, problem.message)
    waiting = Fact(ConditionStatus.UNKNOWN, problem.reason, "Nothing is started before the spec is accepted.")
    preflight = preflight or known_result(look.job) or Preflight(waiting)
    return replace(conclude(look, fact, preflight, refused_run(problem)), requeue_after=again)


def _check(look: Look, preflight: Preflight) -> Decision:
    """The preflight has not begun, is under way, or has failed."""
    job, run = look.job, run_before_training(preflight)
    if look.observed.preflight.job is None:
        problem = find_problem(job, look.observed.inputs, look.settings)
        if problem:
            return _refuse(look, problem, PROBLEM_SECONDS)
        return replace(conclude(look, accepted(), preflight, run), create=(build_preflight_job(job, look.settings),))
    if run.is_unsettled:
        return Decision(status=job.status.to_dict(), requeue_after=run.recheck_after)
    name = preflight_name(job.metadata.name)
    if preflight.is_lost:
        return Decision(status=job.status.to_dict(), delete=(_ref(job, name),))
    patch = _patch_suspend(job, look.observed.preflight, name, run)
    return replace(conclude(look, accepted(), preflight, run), patch=patch, requeue_after=run.recheck_after)


def _start(look: Look, preflight: Preflight) -> Decision:
    problem = find_problem(look.job, look.observed.inputs, look.settings)
    if problem:
        return _refuse(look, problem, PROBLEM_SECONDS, preflight)
    run = read_run(JobObservation(), main=MAIN, gpu_resource=look.settings.gpu_resource)
    decision = conclude(look, accepted(), preflight, run)
    events = (*decision.events, *_warn(preflight))
    return replace(decision, create=(build_train_job(look.job, look.settings),), events=events)


def _warn(preflight: Preflight) -> tuple[Event, ...]:
    """Trained although it does not fit: that must not go under among what went well."""
    if preflight.run is None or preflight.figures is None or preflight.figures.fit is not Fit.DOES_NOT_FIT:
        return ()
    return (Event(Reason.DOES_NOT_FIT, preflight.fact.message, warning=True),)


def _train(look: Look, preflight: Preflight) -> Decision:
    job, observed, settings = look.job, look.observed, look.settings
    run = read_run(observed.run, main=MAIN, gpu_resource=settings.gpu_resource)
    if run.is_unsettled:
        return Decision(status=job.status.to_dict(), requeue_after=run.recheck_after)
    if run.phase is JobPhase.SUCCEEDED:
        return complete(look, preflight, run)
    said = observed.progress if run.phase is JobPhase.RUNNING else None
    live = follow(job.status, said, settings.progress_write_seconds)
    decision = conclude(look, accepted(), preflight, run, **live.members)
    waits = [run.recheck_after] if run.recheck_after else []
    if run.phase is JobPhase.RUNNING:
        waits.append(settings.poll_seconds)
    patch = _patch_suspend(job, observed.run, job_name(job.metadata.name), run)
    return replace(decision, patch=patch, requeue_after=min(waits, default=None))


def _patch_suspend(job: FineTuneJob, observation: JobObservation, name: str, run: Run) -> tuple[Patch, ...]:
    child = observation.job
    if child is None or is_suspended(child) == job.spec.suspend or run.phase is JobPhase.FAILED:
        return ()
    return (Patch(_ref(job, name), {"spec": {"suspend": job.spec.suspend}}),)


def _ref(job: FineTuneJob, name: str) -> Ref:
    return Ref("batch/v1", "Job", job.metadata.namespace, name)
