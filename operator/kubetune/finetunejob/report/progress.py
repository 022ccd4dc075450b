"""From what the running trainer says to the status, and when that is worth a write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubetune.common.doubt import attempt
from kubetune.common.job_status import JobPhase
from kubetune.common.units import format_duration, format_percent, format_progress
from kubetune.finetunejob.api import FineTuneJobStatus, PreflightStatus, TrainingProgress
from kubetune.finetunejob.api.from_contract import finite, merge_suggestions, moment, read_recovery, read_suggestions
from kubetune.finetunejob.api.reasons import Reason
from kubetune.runs.decide import is_due
from kubetune.runs.read import Run
from kubetune_contract import TrainProgress, TrainSummary

from .stages import WORD_LIMIT, stage_of


@dataclass(frozen=True)
class Live:
    """Members of the status that a running trainer changes, as keyword arguments of FineTuneJobStatus."""

    members: dict[str, Any]
    is_new: bool = False
    """Whether they are due to be written."""

    @classmethod
    def stored(cls, status: FineTuneJobStatus) -> Live:
        """As they are."""
        names = ("progress", "recovery", "suggestions")
        return cls({name: getattr(status, name) for name in names})


Object = dict[str, Any]


def recorded_live(status: Object) -> FineTuneJobStatus | None:
    """What of a status on record the trainer's next answer is compared with; None when no training works."""
    if status.get("phase") != JobPhase.RUNNING:
        return None
    names = ("progress", "recovery", "suggestions")
    # A status that another release has written may say it differently.
    kept = {name: status[name] for name in names if name in status}
    return attempt(FineTuneJobStatus.model_validate, kept) or FineTuneJobStatus()


def is_worth_a_write(stored: FineTuneJobStatus, said: TrainProgress, interval: float) -> bool:
    """Whether ``follow`` would show anything new. With an infinite ``interval``: anything but progress."""
    return follow(stored, said, interval, kept=stored.progress).is_new


def follow(
    status: FineTuneJobStatus, said: TrainProgress | None, interval: float, *, kept: TrainingProgress | None
) -> Live:
    """The stored members, or the trainer's new ones when they are due. ``kept`` is what is shown of the progress while
    the pod has said nothing yet."""
    stored = Live.stored(status)
    stored = Live(stored.members | {"progress": kept})
    new = _read(status, said, kept) if said else None
    return new if new and _is_due(stored, new, interval) else stored


def at_rest(stored: TrainingProgress | None, figures: PreflightStatus | None, run: Run) -> TrainingProgress | None:
    """What is shown while no pod trains: no time left and no speed. After a pod has died only what it had saved counts;
    before the first one the plan is known."""
    if stored is None:
        is_planned = figures is not None and figures.steps > 0 and run.phase is not JobPhase.FAILED
        return _show(TrainingProgress(step=0, total_steps=figures.steps, percent=0)) if figures and is_planned else None
    kept = stored.model_copy(update={"phase": None, "eta": None, "eta_seconds": None, "tokens_per_second": None})
    if run.failure and run.phase in {JobPhase.PENDING, JobPhase.RUNNING}:
        kept = kept.model_copy(update={"step": kept.last_checkpoint or 0})
    return _show(kept)


def saved(stored: TrainingProgress | None, said: TrainProgress | None) -> TrainingProgress | None:
    """What a pod that stops says it has saved; the stored one as long as that is no more."""
    new = attempt(lambda figures: read_progress(figures, stored), said) if said else None
    is_news = new and (stored is None or (new.step, new.last_checkpoint) != (stored.step, stored.last_checkpoint))
    return new if is_news else stored


def _show(progress: TrainingProgress) -> TrainingProgress:
    """With what people read of it."""
    step, total = progress.step, progress.total_steps
    return progress.model_copy(update={"percent": format_percent(step, total), "display": format_progress(step, total)})


def _read(status: FineTuneJobStatus, said: TrainProgress, kept: TrainingProgress | None) -> Live | None:
    """None for figures that cannot be: a trainer of another release; the run itself is none the worse."""
    progress = attempt(lambda figures: read_progress(figures, kept), said)
    if progress is None:
        return None
    members = {
        "progress": progress,
        # A new pod says what it was told before it has read what older ones did.
        "recovery": attempt(read_recovery, said.recovery) or status.recovery,
        "suggestions": merge_suggestions(status.suggestions, read_suggestions(said.suggestions)),
    }
    return Live(members, is_new=True)


def _is_due(stored: Live, new: Live, interval: float) -> bool:
    has_recovered = stored.members["recovery"] != new.members["recovery"]
    return has_recovered or is_news(stored.members["progress"], new.members["progress"], interval)


def read_progress(said: TrainProgress, known: TrainingProgress | None = None) -> TrainingProgress:
    """Numbers that are not finite are left out: JSON has no word for them. ``known`` is what was shown before: the plan
    and, of a run that goes on, what it goes on from, until the trainer itself knows."""
    eta = finite(said.eta_seconds)
    progress = TrainingProgress(
        phase=said.phase[:WORD_LIMIT] or None,
        step=said.step,
        total_steps=said.total_steps or (known.total_steps if known else 0),
        percent=0,
        epoch=finite(said.epoch),
        loss=finite(said.loss),
        eval_loss=finite(said.eval_loss),
        learning_rate=finite(said.learning_rate),
        grad_norm=finite(said.grad_norm),
        tokens=said.tokens,
        tokens_per_second=finite(said.tokens_per_second),
        eta_seconds=None if eta is None else round(eta),
        last_checkpoint=said.last_checkpoint,
        last_checkpoint_time=None if said.last_checkpoint_at is None else moment(said.last_checkpoint_at),
        best_step=said.best_step,
        updated_at=moment(said.updated_at),
        eta=None if eta is None else format_duration(eta),
    )
    stage = stage_of(said.phase)
    is_waiting = said.step == 0 and stage is not None and stage.reason is Reason.WAITING_FOR_STORE
    if known and stage and (stage.is_before_training or is_waiting):
        progress = _carry_over(progress, known)
    return _show(progress)


_CARRIED = ("epoch", "loss", "eval_loss", "tokens", "last_checkpoint", "last_checkpoint_time", "best_step")


def _carry_over(progress: TrainingProgress, known: TrainingProgress) -> TrainingProgress:
    """A pod that loads does not know yet what it goes on from."""
    carried = {name: getattr(known, name) for name in _CARRIED if getattr(progress, name) is None}
    before = stage_of(known.phase)
    has_trained = before is not None and not before.is_before_training
    # A trainer that begins anew inside its pod goes on from what it has saved.
    step = (known.last_checkpoint or 0) if has_trained else known.step
    return progress.model_copy(update={"step": max(progress.step, step), **carried})


def is_news(stored: TrainingProgress | None, new: TrainingProgress, interval: float) -> bool:
    """Whether ``new`` is worth a write of its own, ``interval`` seconds after the stored one."""
    if stored is None or is_due(stored.updated_at, new.updated_at, interval):
        return True
    # A smaller step is a new attempt, which should show at once, and so should what the pod is doing. A checkpoint is
    # what is left of a run that ends.
    has_saved = new.last_checkpoint != stored.last_checkpoint
    return new.step < stored.step or new.phase != stored.phase or has_saved


def final_progress(stored: TrainingProgress | None, summary: TrainSummary, finished: datetime) -> TrainingProgress:
    """The last word: all steps done, with the last known loss."""
    last_loss = stored.loss if stored and stored.loss is not None else finite(summary.train_loss)
    return TrainingProgress(
        step=summary.steps,
        total_steps=summary.steps,
        percent=100,
        epoch=stored.epoch if stored else None,
        loss=last_loss,
        eval_loss=finite(summary.eval_loss),
        tokens=summary.tokens,
        last_checkpoint=stored.last_checkpoint if stored else None,
        last_checkpoint_time=stored.last_checkpoint_time if stored else None,
        best_step=summary.best_step or (stored.best_step if stored else None),
        updated_at=finished,
        display=format_progress(summary.steps, summary.steps),
    )
