"""From what the trainer says to ``status.progress``."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from kubetune.common.units import format_duration, format_percent, format_progress
from kubetune_contract import TrainProgress, TrainSummary

from .api import TrainingProgress


def read_progress(said: TrainProgress) -> TrainingProgress:
    """Numbers that are not finite are left out: JSON has no word for them."""
    eta = _finite(said.eta_seconds)
    return TrainingProgress(
        step=said.step,
        total_steps=said.total_steps,
        percent=format_percent(said.step, said.total_steps),
        epoch=_finite(said.epoch),
        loss=_finite(said.loss),
        eval_loss=_finite(said.eval_loss),
        learning_rate=_finite(said.learning_rate),
        grad_norm=_finite(said.grad_norm),
        tokens_per_second=_finite(said.tokens_per_second),
        eta_seconds=None if eta is None else round(eta),
        updated_at=datetime.fromtimestamp(int(said.updated_at), UTC),
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
    last_loss = stored.loss if stored and stored.loss is not None else _finite(summary.train_loss)
    return TrainingProgress(
        step=summary.steps,
        total_steps=summary.steps,
        percent=100,
        epoch=stored.epoch if stored else None,
        loss=last_loss,
        eval_loss=_finite(summary.eval_loss),
        updated_at=finished,
        display=format_progress(summary.steps, summary.steps),
    )


def _finite(value: float | None) -> float | None:
    """To four significant digits: that is what a person reads, and all that a mean over a few batches is worth."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
