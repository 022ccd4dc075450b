"""The whole behaviour of a FineTuneJob as one pure function of what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.decision import Decision, Event, Ref
from kubetune.common.job_status import JobPhase
from kubetune.common.reasons import Shared
from kubetune.runs.decide import CONFLICT_SECONDS, PROBLEM_SECONDS, Steps, find_foreign, step
from kubetune.runs.read import JobObservation, Run, is_suspended, read_run
from kubetune.runs.status import accepted, is_final, refused_run
from kubetune.settings import Settings
from kubetune.workload.inputs import Problem
from kubetune.workload.misfit import expect_placement
from kubetune_contract import Fit

from .api import FineTuneJob, Reason
from .completion import adopt, complete, keep_final
from .job.checks import find_problem
from .job.resources import MAIN, build_preflight_job, build_train_job, job_name, preflight_name
from .observed import Look, Observed
from .preflight import Preflight, known_result, read_preflight, run_before_training
from .queue.eligibility import could_stop, wants_to_start
from .report.build_status import conclude
from .report.cost import charge
from .report.progress import at_rest, follow, saved
from .report.stages import tell
from .suspend import (
    give_back,
    is_kept_by_kueue,
    patches,
    queued,
    spent_so_far,
    stop_pods,
    suspended,
    used,
    waits_for_kueue,
    withdraw,
)

Object = dict[str, Any]

_BEGUN = {JobPhase.RUNNING, JobPhase.SUSPENDING, JobPhase.SUSPENDED}


def decide(job: FineTuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""
    if is_final(job.status):
        return keep_final(job, observed, now, settings)
    look = Look(job, observed, now, settings)
    foreign = find_foreign(job, [observed.preflight.job, observed.run.job])
    if foreign:
        return _refuse(look, foreign, CONFLICT_SECONDS)
    preflight = read_preflight(job, observed)
    if observed.run.job is not None:
        return _train(look, preflight)
    if not preflight.is_passed:
        return _check(look, preflight)
    if preflight.found and preflight.run:
        return adopt(look, preflight, preflight.found, preflight.run)
    return _start(look, preflight)


def _refuse(look: Look, problem: Problem, again: float, preflight: Preflight | None = None) -> Decision:
    fact = Fact(ConditionStatus.FALSE, problem.reason, problem.message)
    waiting = Fact(ConditionStatus.UNKNOWN, problem.reason, "Nothing is started before the spec is accepted.")
    preflight = preflight or known_result(look.job) or Preflight(waiting)
    run = refused_run(problem)
    # Whoever mends what is missing should not learn only then that no node will do.
    run = run if problem.reason in {Shared.INVALID_SPEC, Shared.NAME_CONFLICT} else _foresee(look, run)
    return replace(conclude(look, fact, preflight, run), requeue_after=again)


def _check(look: Look, preflight: Preflight) -> Decision:
    """The preflight has not begun, is under way, or has failed."""
    job, run = look.job, _foresee(look, run_before_training(preflight))
    if look.observed.preflight.job is None:
        problem = find_problem(job, look.observed.inputs, look.settings)
        if problem:
            return _refuse(look, problem, PROBLEM_SECONDS)
        checks = build_preflight_job(job, look.settings, look.observed.hardware)
        if checks["spec"]["suspend"]:
            made = replace(look, observed=replace(look.observed, preflight=JobObservation(checks)))
            return replace(_check(made, read_preflight(job, made.observed)), create=(checks,))
        return replace(conclude(look, accepted(), preflight, run), create=(checks,))
    if run.is_unsettled:
        return Decision(status=job.status.to_dict(), requeue_after=run.recheck_after)
    name = preflight_name(job.metadata.name)
    if preflight.is_lost:
        return Decision(status=job.status.to_dict(), delete=(_ref(job, name),))
    patch = patches(look, name, look.observed.preflight, run)
    return replace(conclude(look, accepted(), preflight, run), patch=patch, requeue_after=run.recheck_after)


def _foresee(look: Look, run: Run) -> Run:
    """That no node can take the training is told while the preflight is at work; nodes may still come."""
    hardware = look.observed.hardware
    if run.phase is JobPhase.FAILED or hardware.nodes is None:
        return run
    training = build_train_job(look.job, look.settings, None, hardware)
    placement = expect_placement(training["spec"]["template"]["spec"], hardware)
    return replace(run, scheduled=placement) if placement else run


def _start(look: Look, preflight: Preflight) -> Decision:
    problem = find_problem(look.job, look.observed.inputs, look.settings)
    if problem:
        return _refuse(look, problem, PROBLEM_SECONDS, preflight)
    run = read_run(JobObservation(), main=MAIN)
    wait = look.observed.wait
    if wait:
        run, shown = queued(wait, run)
        return replace(conclude(look, accepted(), preflight, run, **shown), requeue_after=wait.again)
    if look.job.spec.suspend and look.job.spec.queue_name:
        # Kueue would start a Job that is there; it is made when it may.
        return conclude(look, accepted(), preflight, suspended(look, run))
    training = build_train_job(look.job, look.settings, preflight.figures, look.observed.hardware)
    if training["spec"]["suspend"]:
        # Nothing will happen to it by itself, so what there is to say of it is said now and need not be written again.
        made = replace(look, observed=replace(look.observed, run=JobObservation(training)))
        decision = _train(made, preflight)
    else:
        placement = expect_placement(training["spec"]["template"]["spec"], look.observed.hardware)
        run = read_run(JobObservation(placement=placement), main=MAIN)
        decision = replace(conclude(look, accepted(), preflight, run), requeue_after=run.recheck_after)
    events = (*decision.events, *_warn(look.job, preflight))
    return replace(decision, create=(training,), events=events)


def _warn(job: FineTuneJob, preflight: Preflight) -> tuple[Event, ...]:
    """Trained although it does not fit, or hardly: that must not go under among what went well. A GPU's memory that is
    tight has a ladder to go down; of main memory, which kills, it is worth a word."""
    fit = preflight.figures.fit if preflight.run and preflight.figures else None
    if fit is Fit.DOES_NOT_FIT:
        return (Event(Reason.DOES_NOT_FIT, preflight.fact.message, warning=True),)
    if fit is Fit.TIGHT and not job.spec.resources.gpu:
        return (Event(Reason.TIGHT, preflight.fact.message, warning=True),)
    return ()


def _train(look: Look, preflight: Preflight) -> Decision:
    job = look.job
    go_on = _hold if job.spec.suspend else _follow
    steps = Steps(
        complete=lambda run: complete(look, preflight, run),
        fail=lambda run: conclude(look, accepted(), preflight, run),
        follow=lambda run: go_on(look, preflight, run),
    )
    return step(job.status, job.spec, look.observed.run, MAIN, steps)


def _hold(look: Look, preflight: Preflight, run: Run) -> Decision:
    """Its user wants it stopped."""
    job, child = look.job, look.observed.run.job
    patch = patches(look, job_name(job.metadata.name), look.observed.run, run)
    if job.spec.queue_name is not None or run.phase in _BEGUN:
        run = suspended(look, run)
    progress = saved(job.status.progress, look.observed.progress)
    shown = {"active_seconds": used(look), "progress": at_rest(progress, preflight.figures, run)}
    decision = conclude(look, accepted(), preflight, run, **shown)
    if job.spec.queue_name is None:
        stop = stop_pods(look) if child and not is_suspended(child) else ()
        return replace(decision, stop=stop, patch=patch, requeue_after=run.recheck_after)
    # What is known only from the Job must be on record before the Job goes.
    if job.status.phase not in {JobPhase.SUSPENDING, JobPhase.SUSPENDED} or child is None:
        return replace(decision, requeue_after=0.0)
    return replace(decision, stop=withdraw(look), requeue_after=run.recheck_after)


def _follow(look: Look, preflight: Preflight, run: Run) -> Decision:
    """It is to run, and does as far as place, queue and cluster let it."""
    job, observed, settings = look.job, look.observed, look.settings
    patch = patches(look, job_name(job.metadata.name), observed.run, run)
    if is_kept_by_kueue(job, observed.run.job or {}):
        run, shown = queued(waits_for_kueue(job), run)
        return replace(conclude(look, accepted(), preflight, run, active_seconds=used(look), **shown), patch=patch)
    if observed.wait and (wants_to_start(job, observed, settings) or could_stop(job, observed)):
        run, shown = queued(observed.wait, run)
        decision = conclude(look, accepted(), preflight, run, active_seconds=used(look), **shown)
        return replace(decision, patch=give_back(look), requeue_after=observed.wait.again)
    if run.phase is JobPhase.RUNNING:
        return replace(_watch(look, preflight, run), patch=patch)
    return replace(conclude(look, accepted(), preflight, run), patch=patch, requeue_after=run.recheck_after)


def _watch(look: Look, preflight: Preflight, run: Run) -> Decision:
    """Its pod works: what it says of itself is shown, now and then."""
    job, said, settings = look.job, look.observed.progress, look.settings
    is_new = run.pod not in (job.status.pods or ())
    kept = at_rest(job.status.progress, preflight.figures, run) if is_new else job.status.progress
    live = follow(job.status, said, settings.progress_write_seconds, kept=kept)
    reported = said.active_seconds if said and live.is_new else None
    cost = charge(job.status.cost, reported, job.spec, settings, look.observed.product)
    shown = live.members["progress"]
    run = tell(run, shown.phase if shown else None)
    spent = spent_so_far(look) if live.is_new else job.status.active_seconds
    decision = conclude(look, accepted(), preflight, run, cost=cost, active_seconds=spent, **live.members)
    return replace(decision, requeue_after=run.recheck_after)


def _ref(job: FineTuneJob, name: str) -> Ref:
    return Ref("batch/v1", "Job", job.metadata.namespace, name)
