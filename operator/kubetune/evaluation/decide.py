"""The whole behaviour of an Evaluation as one pure function of what was read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.decision import Decision
from kubetune.common.doubt import attempt, read
from kubetune.common.job_status import Failure, JobPhase
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.lineage import Jobs, Obstacle, Unresolved
from kubetune.runs.decide import CONFLICT_SECONDS, PROBLEM_SECONDS, Steps, find_foreign, lose, patches, step, suspension
from kubetune.runs.read import JobObservation, Run, read_run
from kubetune.runs.status import (
    Stamp,
    accepted,
    fitting,
    is_final,
    job_conditions,
    job_status,
    keep,
    refused_run,
    settle,
    transitions,
)
from kubetune.runs.sweep import sweep
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware, check_shares
from kubetune.workload.inputs import Inputs, Problem, check_spelling
from kubetune.workload.misfit import expect_placement
from kubetune_contract import EvalProgress, EvalSummary

from .api import Evaluation, EvaluationStatus, Reason
from .checks import find_missing, find_senseless
from .resources import EVALUATE, Models, build, measured_candidate, output_uri, resolve_models, used_uris
from .result import (
    all_done,
    describe,
    is_news,
    measured_model,
    primary_metric,
    read_progress,
    result_members,
    with_contents,
)

Object = dict[str, Any]


@dataclass(frozen=True)
class Observed:
    """What the controller has read; the default is a cluster in which nothing exists yet."""

    run: JobObservation = field(default_factory=JobObservation)
    jobs: Jobs = field(default_factory=dict)
    """FineTuneJobs the spec refers to, looked up only while there is no Job."""
    inputs: Inputs = field(default_factory=Inputs)
    """Looked up only while there is no Job."""
    hardware: Hardware = field(default_factory=Hardware)
    """Looked up only while there is no Job."""
    progress: EvalProgress | None = None
    """The running pod's answer; None when it gave none."""


def decide(evaluation: Evaluation, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""
    if is_final(evaluation.status):
        return _keep_final(evaluation, observed, now, settings)
    foreign = find_foreign(evaluation, [observed.run.job])
    if foreign:
        return _refuse(evaluation, foreign, now, CONFLICT_SECONDS)
    if observed.run.job is None:
        return _start(evaluation, observed, now, settings)
    measured = measured_model(measured_candidate(observed.run.job)) or evaluation.status.candidate
    steps = Steps(
        complete=lambda run: _complete(evaluation, run, now, settings, candidate=measured),
        fail=lambda run: _conclude(evaluation, accepted(), run, now, candidate=measured),
        follow=lambda run: _follow(evaluation, observed, run, now, settings, candidate=measured),
    )
    return step(evaluation.status, evaluation.spec, observed.run, EVALUATE, steps)


def _keep_final(evaluation: Evaluation, observed: Observed, now: datetime, settings: Settings) -> Decision:
    stamp = Stamp(now, evaluation.metadata.generation)
    members, events = settle(evaluation.status, stamp, suspend=evaluation.spec.suspend)
    status = evaluation.status.model_copy(update=members).to_dict()
    gone = sweep(observed.run.job, evaluation.metadata.uid, settings.keep_finished_seconds)
    return Decision(status=status, patch=gone, events=events)


def _start(evaluation: Evaluation, observed: Observed, now: datetime, settings: Settings) -> Decision:
    spelled = check_spelling(used_uris(evaluation, None)) or check_shares(evaluation.spec.resources, settings)
    if spelled:
        return _refuse(evaluation, spelled, now, None)
    models = resolve_models(evaluation, observed.jobs)
    known = models if isinstance(models, Models) else None
    missing = find_missing(evaluation, known, observed.inputs, settings, PROBLEM_SECONDS)
    if isinstance(models, Unresolved) and models.obstacle is not Obstacle.NOT_FINISHED:
        return _unresolved(evaluation, models, now)
    if missing:
        placement = _foresee(evaluation, known, settings, observed.hardware) if known else None
        return _refuse(evaluation, missing, now, PROBLEM_SECONDS, placement)
    if isinstance(models, Unresolved):
        return _unresolved(evaluation, models, now)
    senseless = find_senseless(evaluation, models, observed.jobs)
    if senseless:
        return _refuse(evaluation, senseless, now, None)
    made = build(evaluation, models, settings, observed.hardware.runtime_class)
    if made["spec"]["suspend"]:
        # Nothing will happen to it by itself, so what there is to say of it is said now and need not be written again.
        run = read_run(JobObservation(made), main=EVALUATE)
    else:
        placement = _foresee(evaluation, models, settings, observed.hardware)
        run = read_run(JobObservation(placement=placement), main=EVALUATE)
    decision = _conclude(evaluation, accepted(), run, now, candidate=measured_model(models.candidate))
    return replace(decision, create=(made,), requeue_after=run.recheck_after)


def _foresee(evaluation: Evaluation, models: Models, settings: Settings, hardware: Hardware) -> Fact | None:
    """Why no node can take the pod that is about to be made."""
    made = build(evaluation, models, settings, hardware.runtime_class)
    return expect_placement(made["spec"]["template"]["spec"], hardware)


def _unresolved(evaluation: Evaluation, obstacle: Unresolved, now: datetime) -> Decision:
    """Events about the FineTuneJob bring this Evaluation back; there is nothing to poll for."""
    if obstacle.obstacle is Obstacle.NOT_FOUND:
        return _refuse(evaluation, Problem(Reason.FINE_TUNE_JOB_NOT_FOUND, obstacle.message), now, None)
    if obstacle.obstacle is Obstacle.UNREADABLE:
        return _refuse(evaluation, Problem(Shared.INVALID_SPEC, obstacle.message), now, None)
    if obstacle.obstacle is Obstacle.NOT_FINISHED:
        waiting = Fact(ConditionStatus.UNKNOWN, Reason.FINE_TUNE_JOB_NOT_FINISHED, obstacle.message)
        run = Run(JobPhase.PENDING, scheduled=waiting, running=_false(waiting), succeeded=waiting)
        # Waiting is what is meant to happen; the condition tells it, an Event would only be noise.
        return replace(_conclude(evaluation, accepted(), run, now), events=())
    text = sentences(obstacle.message, "This Evaluation has ended with it: create it again, too")
    failed = Fact(ConditionStatus.FALSE, Reason.FINE_TUNE_JOB_FAILED, text)
    never = replace(failed, message="Did not run: there is no model to measure.")
    failure = Failure(reason=failed.reason, message=failed.message)
    run = Run(JobPhase.FAILED, scheduled=never, running=never, succeeded=failed, failure=failure)
    return _conclude(evaluation, failed, run, now)


def _refuse(
    evaluation: Evaluation, problem: Problem, now: datetime, again: float | None, placement: Fact | None = None
) -> Decision:
    fact, run = Fact(ConditionStatus.FALSE, problem.reason, problem.message), refused_run(problem)
    run = replace(run, scheduled=placement) if placement else run
    return replace(_conclude(evaluation, fact, run, now), requeue_after=again)


def _follow(
    evaluation: Evaluation, observed: Observed, run: Run, now: datetime, settings: Settings, **own: Any
) -> Decision:
    progress = evaluation.status.progress
    if observed.progress and run.phase is JobPhase.RUNNING:
        said = attempt(read_progress, observed.progress)
        progress = said if said and is_news(progress, said, settings.progress_write_seconds) else progress
    decision = _conclude(evaluation, accepted(), run, now, progress=progress, **own)
    changed = suspension(observed.run.job or {}, now, suspend=evaluation.spec.suspend)
    patch = patches(evaluation.metadata, observed.run, EVALUATE, changed)
    return replace(decision, patch=patch, requeue_after=run.recheck_after)


def _complete(evaluation: Evaluation, run: Run, now: datetime, settings: Settings, **own: Any) -> Decision:
    summary = read(EvalSummary, run.message)
    told = attempt(lambda said: result_members(said, primary_metric(evaluation)), summary) if summary else None
    results = fitting(EvaluationStatus, told or {})
    # A gate is not opened, and not closed, by a verdict that nobody can read.
    if summary is None or "report" not in results or (evaluation.spec.gate and results.get("verdict") is None):
        remedy = (
            f"so the verdict is not known. The report should be at {output_uri(evaluation, settings)}; create the "
            "Evaluation again to have a verdict."
        )
        return _conclude(evaluation, accepted(), lose(run, "evaluation", remedy), now, **own)
    run = replace(run, succeeded=Fact(ConditionStatus.TRUE, Shared.COMPLETED, describe(summary)))
    measured = with_contents(own.get("candidate"), summary.candidate)
    done = {"candidate": measured, "progress": all_done(evaluation.status.progress)}
    return _conclude(evaluation, accepted(), run, now, **(own | results | done))


def _conclude(evaluation: Evaluation, fact: Fact, run: Run, now: datetime, **own: Any) -> Decision:
    """The status and the Events that follow from the facts; ``own`` are the kind's own members of the status."""
    stamp = Stamp(now, evaluation.metadata.generation)
    old = evaluation.status
    conditions = job_conditions(old.conditions, fact, run, stamp)
    members = job_status(old, conditions, run, stamp) | {"primary_metric": primary_metric(evaluation)} | own
    return Decision(status=keep(old, members).to_dict(), events=transitions(old.conditions, conditions))


def _false(fact: Fact) -> Fact:
    return replace(fact, status=ConditionStatus.FALSE)
