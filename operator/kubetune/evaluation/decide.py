"""The whole behaviour of an Evaluation as one pure function of what was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus
from kubetune.common.decision import Decision, Patch, Ref
from kubetune.common.job_status import Failure, JobPhase
from kubetune.common.sentences import sentences
from kubetune.finetunejob.api import FineTuneJob
from kubetune.settings import Settings
from kubetune.workload.deadline import explain_deadline, suspend_body
from kubetune.workload.explain import Fact
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.gpu import Hardware, check_shares
from kubetune.workload.inputs import Inputs, Problem
from kubetune.workload.main_memory import fewer_tries
from kubetune.workload.misfit import expect_placement
from kubetune.workload.resolution import Obstacle, Unresolved, check_spelling
from kubetune.workload.run import JobObservation, Run, is_suspended, read_run
from kubetune.workload.status import (
    Stamp,
    accepted,
    is_final,
    job_conditions,
    job_status,
    refused_run,
    settle,
    transitions,
)
from kubetune_contract import EvalProgress

from .api import Evaluation, EvaluationStatus, Reason
from .checks import find_missing, find_senseless
from .resources import EVALUATE, Models, build, job_name, measured_candidate, output_uri, resolve_models, used_uris
from .result import describe, is_due, measured_model, primary_metric, read_progress, read_summary, result_members

Object = dict[str, Any]

PROBLEM_SECONDS = 5.0
"""A missing claim, ConfigMap or Secret is not watched; once created it is found this much later."""
CONFLICT_SECONDS = 60.0


@dataclass(frozen=True)
class Observed:
    """What the controller has read; the default is a cluster in which nothing exists yet."""

    run: JobObservation = field(default_factory=JobObservation)
    jobs: Mapping[str, FineTuneJob | None] = field(default_factory=dict)
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
        return _keep_final(evaluation, now)
    child = observed.run.job
    if child is None:
        return _start(evaluation, observed, now, settings)
    if not is_owned_by(child, evaluation.metadata.uid):
        return _refuse(evaluation, _conflict(evaluation), now, CONFLICT_SECONDS)
    run = read_run(observed.run, main=EVALUATE)
    if run.is_unsettled:
        return Decision(status=evaluation.status.to_dict(), requeue_after=run.recheck_after)
    if run.phase is JobPhase.SUCCEEDED:
        return _complete(evaluation, observed, run, now, settings)
    return _follow(evaluation, observed, run, now, settings)


def _keep_final(evaluation: Evaluation, now: datetime) -> Decision:
    stamp = Stamp(now, evaluation.metadata.generation)
    members, events = settle(evaluation.status, stamp, suspend=evaluation.spec.suspend)
    return Decision(status=evaluation.status.model_copy(update=members).to_dict(), events=events)


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


def _follow(evaluation: Evaluation, observed: Observed, run: Run, now: datetime, settings: Settings) -> Decision:
    child = observed.run.job or {}
    run = explain_deadline(run, child, evaluation.spec.active_deadline_seconds)
    progress = evaluation.status.progress
    if observed.progress and run.phase is JobPhase.RUNNING:
        said = read_progress(observed.progress)
        progress = said if is_due(progress, said, settings.progress_write_seconds) else progress
    candidate = measured_model(measured_candidate(child))
    decision = _conclude(evaluation, accepted(), run, now, progress=progress, candidate=candidate)
    patches = () if run.phase is JobPhase.FAILED else _patches(evaluation, observed.run, child, now)
    return replace(decision, patch=patches, requeue_after=run.recheck_after)


def _patches(evaluation: Evaluation, observation: JobObservation, child: Object, now: datetime) -> tuple[Patch, ...]:
    ref = Ref("batch/v1", "Job", evaluation.metadata.namespace, job_name(evaluation))
    fewer = fewer_tries(child, observation.pods, EVALUATE)
    suspension: Object | None = None
    if is_suspended(child) != evaluation.spec.suspend:
        suspension = suspend_body(child, now) if evaluation.spec.suspend else {"spec": {"suspend": False}}
    return tuple(Patch(ref, body) for body in (fewer, suspension) if body)


def _complete(evaluation: Evaluation, observed: Observed, run: Run, now: datetime, settings: Settings) -> Decision:
    candidate = measured_model(measured_candidate(observed.run.job or {}))
    summary = read_summary(run.message)
    if summary is None:
        return _conclude(evaluation, accepted(), _lost(evaluation, run, settings), now, candidate=candidate)
    run = replace(run, succeeded=Fact(ConditionStatus.TRUE, Reason.COMPLETED, describe(summary)))
    results = result_members(summary, primary_metric(evaluation))
    return _conclude(evaluation, accepted(), run, now, candidate=candidate, **results)


def _lost(evaluation: Evaluation, run: Run, settings: Settings) -> Run:
    """The Job says it completed, but nobody read the verdict in time: a gate must not be opened by a guess."""
    what = "left no summary that can be read" if run.pod else "was deleted before its summary was read"
    text = (
        f"The evaluation completed, but its pod {what}, so the verdict is not known. The report should be at "
        f"{output_uri(evaluation, settings)}; create the Evaluation again to have a verdict."
    )
    return replace(
        run,
        phase=JobPhase.FAILED,
        succeeded=Fact(ConditionStatus.FALSE, Reason.RESULT_LOST, text),
        failure=Failure(reason=Reason.RESULT_LOST, message=text, pod=run.pod),
    )


def _conflict(evaluation: Evaluation) -> Problem:
    text = (
        f"Job {evaluation.metadata.namespace}/{job_name(evaluation)} exists and does not belong to this Evaluation. It "
        "is left alone; delete it or give this Evaluation another name."
    )
    return Problem(Reason.NAME_CONFLICT, text)


def _conclude(evaluation: Evaluation, fact: Fact, run: Run, now: datetime, **own: Any) -> Decision:
    """The status and the Events that follow from the facts; ``own`` are the kind's own members of the status."""
    stamp = Stamp(now, evaluation.metadata.generation)
    old = evaluation.status
    conditions = job_conditions(old.conditions, fact, run, stamp)
    members = job_status(old, conditions, run, stamp) | {"primary_metric": primary_metric(evaluation)} | own
    return Decision(status=EvaluationStatus(**members).to_dict(), events=transitions(old.conditions, conditions))


def _false(fact: Fact) -> Fact:
    return replace(fact, status=ConditionStatus.FALSE)
