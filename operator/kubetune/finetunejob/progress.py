"""From what the running trainer says to the status, and when that is worth a write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubetune.common.units import format_duration, format_percent, format_progress
from kubetune_contract import TrainProgress, TrainSummary

from .api import FineTuneJobStatus, TrainingProgress
from .figures import finite, merge_suggestions, moment, read_recovery, read_suggestions


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


def follow(status: FineTuneJobStatus, said: TrainProgress | None, interval: float) -> Live:
    """The stored members, or the trainer's new ones when they are due."""
    new = _read(status, said) if said else None
    stored = Live.stored(status)
    return new if new and _is_due(stored, new, interval) else stored


def _read(status: FineTuneJobStatus, said: TrainProgress) -> Live | None:
    """None for figures that cannot be: a trainer of another release; the run itself is none the worse."""
    try:
        members = {
            "progress": read_progress(said),
            # A new pod says what it was told before it has read what older ones did.
            "recovery": read_recovery(said.recovery) or status.recovery,
            "suggestions": merge_suggestions(status.suggestions, read_suggestions(said.suggestions)),
        }
    except ValueError:
        return None
    return Live(members, is_new=True)


def _is_due(stored: Live, new: Live, interval: float) -> bool:
    has_recovered = stored.members["recovery"] != new.members["recovery"]
    return has_recovered or is_due(stored.members["progress"], new.members["progress"], interval)


def read_progress(said: TrainProgress) -> TrainingProgress:
    """Numbers that are not finite are left out: JSON has no word for them."""
    eta = finite(said.eta_seconds)
    return TrainingProgress(
        step=said.step,
        total_steps=said.total_steps,
        percent=format_percent(said.step, said.total_steps),
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
        display=format_progress(said.step, said.total_steps),
        eta=None if eta is None else format_duration(eta),
    )


def is_due(stored: TrainingProgress | None, new: TrainingProgress, interval: float) -> bool:
    """Whether ``new`` is worth a write of its own: ``interval`` seconds of the trainer's clock after the stored one."""
    if stored is None or stored.updated_at is None or new.updated_at is None:
        return True
    age = (new.updated_at - stored.updated_at).total_seconds()
    # A smaller step is a new attempt, which should show at once.
    return age >= interval or new.step < stored.step


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
