"""The whole behaviour of a FineTuneJob as one pure function of what was read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus
from kubetune.common.decision import Decision, Event, Patch, Ref
from kubetune.common.job_status import Failure, JobPhase
from kubetune.settings import Settings
from kubetune.workload.explain import Fact
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.inputs import Inputs, Problem
from kubetune.workload.run import JobObservation, Run, is_suspended, read_run
from kubetune.workload.status import Stamp, accepted, is_final, job_conditions, job_status, refused_run, transitions
from kubetune_contract import ContractError, TrainProgress, TrainSummary, from_json

from .api import ArtifactStatus, EvaluationRef, FineTuneJob, FineTuneJobStatus, Reason, TrainingResults
from .preflight import find_problem
from .progress import final_progress, is_due, read_progress
from .resources import MAIN, artifact_uri, build_evaluation, build_train_job, job_name

Object = dict[str, Any]

PROBLEM_SECONDS = 5.0
"""A missing claim or ConfigMap is not watched; once created it is found this much later."""
CONFLICT_SECONDS = 60.0


@dataclass(frozen=True)
class Observed:
    """What the controller has read; the default is a cluster in which nothing exists yet."""

    run: JobObservation = field(default_factory=JobObservation)
    inputs: Inputs = field(default_factory=Inputs)
    """Looked up only while there is no Job."""
    progress: TrainProgress | None = None
    """The running pod's answer; None when it gave none."""
    evaluation: Object | None = None
    """The live Evaluation of this job's name, looked up once the training has succeeded."""


def decide(job: FineTuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""
    child = observed.run.job
    if is_final(job.status):
        return _keep_final(job, observed)
    if child is None:
        return _start(job, observed, now, settings)
    if not is_owned_by(child, job.metadata.uid):
        return _refuse(job, _name_conflict(job, child), now, CONFLICT_SECONDS)
    run = read_run(observed.run, main=MAIN, gpu_resource=settings.gpu_resource)
    if run.is_unsettled:
        return Decision(status=job.status.to_dict(), requeue_after=run.recheck_after)
    if run.phase is JobPhase.SUCCEEDED:
        return _complete(job, observed, run, now, settings)
    return _follow(job, observed, run, now, settings)


def _name_conflict(job: FineTuneJob, child: Object) -> Problem:
    text = (
        f"Job {job.metadata.namespace}/{child['metadata']['name']} exists and does not belong to this FineTuneJob. "
        "It is left alone; delete it or give this FineTuneJob another name."
    )
    return Problem(Reason.NAME_CONFLICT, text)


def _start(job: FineTuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    problem = find_problem(job, observed.inputs, settings)
    if problem:
        return _refuse(job, problem, now, PROBLEM_SECONDS)
    run = read_run(JobObservation(), main=MAIN, gpu_resource=settings.gpu_resource)
    return replace(_conclude(job, accepted(), run, now), create=(build_train_job(job, settings),))


def _refuse(job: FineTuneJob, problem: Problem, now: datetime, again: float) -> Decision:
    fact = Fact(ConditionStatus.FALSE, problem.reason, problem.message)
    return replace(_conclude(job, fact, refused_run(problem), now), requeue_after=again)


def _follow(job: FineTuneJob, observed: Observed, run: Run, now: datetime, settings: Settings) -> Decision:
    progress = job.status.progress
    if observed.progress and run.phase is JobPhase.RUNNING:
        said = read_progress(observed.progress)
        progress = said if is_due(progress, said, settings.progress_write_seconds) else progress
    decision = _conclude(job, accepted(), run, now, progress=progress)
    waits = [run.recheck_after] if run.recheck_after else []
    if run.phase is JobPhase.RUNNING:
        waits.append(settings.poll_seconds)
    child = observed.run.job
    patches: tuple[Patch, ...] = ()
    if child and is_suspended(child) != job.spec.suspend and run.phase is not JobPhase.FAILED:
        ref = Ref("batch/v1", "Job", job.metadata.namespace, job_name(job.metadata.name))
        patches = (Patch(ref, {"spec": {"suspend": job.spec.suspend}}),)
    return replace(decision, patch=patches, requeue_after=min(waits, default=None))


def _complete(job: FineTuneJob, observed: Observed, run: Run, now: datetime, settings: Settings) -> Decision:
    summary = _read_summary(run.message)
    if summary is None:
        return _lose(job, run, now, settings)
    finished = run.finished or now.replace(microsecond=0)
    artifact = ArtifactStatus(
        uri=summary.artifact.uri,
        kind=summary.artifact.kind,
        manifest_sha256=summary.artifact.manifest_sha256,
        bytes=summary.artifact.bytes,
    )
    evaluation = _Evaluation.of(job, observed)
    text = f"Trained {summary.steps} steps on {summary.train_rows} rows; the {artifact.kind} is at {artifact.uri}."
    run = replace(run, succeeded=Fact(ConditionStatus.TRUE, Reason.COMPLETED, f"{text} {evaluation.note}".strip()))
    decision = _conclude(
        job,
        accepted(),
        run,
        now,
        progress=final_progress(job.status.progress, summary, finished),
        artifact=artifact,
        results=_results(summary),
        mlflow_run_id=summary.mlflow_run_id,
        evaluation_ref=evaluation.ref,
    )
    return replace(
        decision,
        create=evaluation.create,
        events=(*decision.events, *evaluation.events),
        requeue_after=evaluation.again,
    )


def _lose(job: FineTuneJob, run: Run, now: datetime, settings: Settings) -> Decision:
    """The Job says it completed, but nobody read the result in time: without its digest it must not be trusted."""
    what = "left no summary that can be read" if run.pod else "was deleted before its summary was read"
    text = (
        f"The training completed, but its pod {what}, so the result is not known for sure. What it published "
        f"should be at {artifact_uri(job, settings)}; use that URI directly, or create the FineTuneJob again."
    )
    run = replace(
        run,
        phase=JobPhase.FAILED,
        succeeded=Fact(ConditionStatus.FALSE, Reason.RESULT_LOST, text),
        failure=Failure(reason=Reason.RESULT_LOST, message=text, pod=run.pod),
    )
    return _conclude(job, accepted(), run, now, progress=job.status.progress)


def _keep_final(job: FineTuneJob, observed: Observed) -> Decision:
    """Ended and recorded: only an Evaluation that could not be created then is still owed."""
    status = job.status
    if status.phase is not JobPhase.SUCCEEDED or status.evaluation_ref or job.spec.evaluation is None:
        return Decision(status=status.to_dict())
    evaluation = _Evaluation.of(job, observed)
    kept = status.model_copy(update={"evaluation_ref": evaluation.ref})
    return Decision(status=kept.to_dict(), create=evaluation.create, requeue_after=evaluation.again)


@dataclass(frozen=True)
class _Evaluation:
    """What to do about the Evaluation of ``spec.evaluation``."""

    ref: EvaluationRef | None = None
    create: tuple[Object, ...] = ()
    note: str = ""
    events: tuple[Event, ...] = ()
    again: float | None = None

    @classmethod
    def of(cls, job: FineTuneJob, observed: Observed) -> _Evaluation:
        wanted = build_evaluation(job)
        if wanted is None:
            return cls()
        name, live = job.metadata.name, observed.evaluation
        if live is not None and not is_owned_by(live, job.metadata.uid):
            note = (
                f"Evaluation {name} exists and does not belong to this FineTuneJob, so spec.evaluation waits: delete "
                "or rename it."
            )
            return cls(note=note, events=(Event(Reason.NAME_CONFLICT, note, warning=True),), again=CONFLICT_SECONDS)
        return cls(ref=EvaluationRef(name=name), create=() if live else (wanted,))


def _conclude(job: FineTuneJob, fact: Fact, run: Run, now: datetime, **own: Any) -> Decision:
    """The status and the Events that follow from the facts; ``own`` are the kind's own members of the status."""
    stamp = Stamp(now, job.metadata.generation)
    old = job.status
    conditions = job_conditions(old.conditions, fact, run, stamp)
    status = FineTuneJobStatus(**job_status(old, conditions, run, stamp), **own)
    return Decision(status=status.to_dict(), events=transitions(old.conditions, conditions))


def _results(summary: TrainSummary) -> TrainingResults:
    return TrainingResults(
        steps=summary.steps,
        train_rows=summary.train_rows,
        validation_rows=summary.validation_rows,
        train_loss=summary.train_loss,
        eval_loss=summary.eval_loss,
        duration_seconds=summary.duration_seconds,
        dataset_sha256=summary.dataset_sha256,
        dropped_rows=summary.dropped_rows,
        truncated_rows=summary.truncated_rows,
        peak_vram_bytes=summary.peak_vram_bytes,
    )


def _read_summary(message: str | None) -> TrainSummary | None:
    try:
        return from_json(TrainSummary, json.loads(message or ""))
    except (ValueError, ContractError):
        return None
