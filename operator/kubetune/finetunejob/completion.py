"""The end of a training: its result, a result that is lost, and the Evaluation that follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.decision import Decision, Event
from kubetune.common.doubt import attempt, read
from kubetune.common.job_status import JobCondition, JobPhase
from kubetune.common.model import format_time
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.runs.decide import CONFLICT_SECONDS, lose
from kubetune.runs.read import Run
from kubetune.runs.status import Stamp, accepted, set_facts, settle
from kubetune.runs.sweep import sweep
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune_contract import TrainSummary

from .api import EvaluationRef, FineTuneJob, Reason
from .api.from_contract import (
    found_at,
    merge_suggestions,
    read_recovery,
    read_settings,
    read_suggestions,
    result_members,
)
from .job.effective import effective
from .job.resources import build_evaluation
from .job.uris import artifact_uri
from .observed import Look, Observed
from .preflight import Preflight
from .report.build_status import conclude
from .report.cost import charge
from .report.progress import final_progress

Object = dict[str, Any]

_NOT_CREATED = "The training has succeeded, but its Evaluation (spec.evaluation) cannot be created; tried every minute"


def complete(look: Look, preflight: Preflight, run: Run) -> Decision:
    """The training's Job is done: records what it published. The Evaluation follows in the next pass, so that nothing
    about it can keep the result from being recorded."""
    summary = read(TrainSummary, run.message)
    published = attempt(result_members, summary) if summary else None
    if summary is None or published is None:
        return _lose(look, preflight, run)
    job, trained = look.job, found_at(summary)
    evaluation = _Evaluation.of(job, look.observed)
    text = sentences(_describe_found(summary, trained) if trained else _describe(summary), evaluation.note)
    reason = Reason.RESULT_FOUND if trained else Shared.COMPLETED
    run = replace(run, succeeded=Fact(ConditionStatus.TRUE, reason, text))
    finished = run.finished or look.now.replace(microsecond=0)
    decision = conclude(
        look,
        accepted(),
        preflight,
        run,
        progress=attempt(lambda said: final_progress(job.status.progress, said, finished), summary),
        recovery=attempt(read_recovery, summary.recovery) or job.status.recovery,
        suggestions=merge_suggestions(job.status.suggestions, read_suggestions(summary.suggestions)),
        cost=charge(job.status.cost, None if trained else summary.active_seconds, job.spec, look.settings, None),
        **published,
    )
    events = (*decision.events, *evaluation.events)
    return replace(decision, events=events, requeue_after=None if job.spec.evaluation is None else 0.0)


def adopt(look: Look, preflight: Preflight, found: TrainSummary, checked: Run) -> Decision:
    """The preflight, whose Job is ``checked``, has found the result of this very run: nothing is left to train."""
    nothing = Fact(ConditionStatus.FALSE, Reason.RESULT_FOUND, "Nothing is trained: the result is there already.")
    run = replace(checked, scheduled=nothing, running=nothing, attempts=0, pod=None, started=None)
    decision = complete(look, preflight, run)
    settings = effective(look.job.spec, attempt(read_settings, found.found.settings if found.found else None))
    return replace(decision, status=decision.status | {"effective": settings.to_dict()})


def keep_final(job: FineTuneJob, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Ended and recorded: only the Evaluation is still owed, and the Job may go."""
    decision = _keep(job, observed, now)
    gone = sweep(observed.run.job, job.metadata.uid, settings.keep_finished_seconds)
    if gone and (decision.create or decision.status != job.status.to_dict()):
        # What is owed comes first, and must not fail for a Job that stays.
        return replace(decision, requeue_after=decision.requeue_after or 0.0)
    return replace(decision, patch=gone)


def _keep(job: FineTuneJob, observed: Observed, now: datetime) -> Decision:
    stamp = Stamp(now, job.metadata.generation)
    members, events = settle(job.status, stamp, suspend=job.spec.suspend)
    status = job.status.model_copy(update=members)
    if status.phase is not JobPhase.SUCCEEDED or status.evaluation_ref or job.spec.evaluation is None:
        return Decision(status=status.to_dict(), events=events)
    evaluation = _Evaluation.of(job, observed)
    if evaluation.ref is None:
        return Decision(status=status.to_dict(), events=events, requeue_after=evaluation.again)
    # A refusal that was told until now is over.
    conditions = set_facts(status.conditions, {JobCondition.ACCEPTED: accepted()}, stamp)
    kept = status.model_copy(update={"evaluation_ref": evaluation.ref, "conditions": conditions})
    return Decision(status=kept.to_dict(), create=evaluation.create, events=events, refused=_NOT_CREATED)


def _describe_found(summary: TrainSummary, trained: datetime) -> str:
    artifact = summary.artifact
    return (
        f"Nothing was trained: the result of {format_time(trained)}, of the same method, settings, rows and base "
        f"model, is in the object store; the {artifact.kind} is at {artifact.uri}. Another spec.rerun trains it anew."
    )


def _describe(summary: TrainSummary) -> str:
    artifact = summary.artifact
    ended = " It stopped early, because the validation loss did not improve any more." if summary.stopped_early else ""
    best = f" Its weights are those of step {summary.best_step}." if summary.best_step else ""
    return (
        f"Trained {summary.steps} steps on {summary.train_rows} rows; the {artifact.kind} is at {artifact.uri}."
        f"{ended}{best}"
    )


def _lose(look: Look, preflight: Preflight, run: Run) -> Decision:
    remedy = (
        f"so the result is not known for sure. What it published should be at {artifact_uri(look.job, look.settings)}; "
        "use that URI directly, or create the FineTuneJob again."
    )
    return conclude(look, accepted(), preflight, lose(run, "training", remedy))


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
            return cls(note=note, events=(Event(Shared.NAME_CONFLICT, note, warning=True),), again=CONFLICT_SECONDS)
        return cls(ref=EvaluationRef(name=name), create=() if live else (wanted,))
