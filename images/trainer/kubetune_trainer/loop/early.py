"""Early stopping, decided by the whole history of validation losses, so that a resumed run decides alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def validation_losses(log: Iterable[Mapping[str, Any]]) -> list[float]:
    """Those in a training's log, in their order."""
    return [float(entry["eval_loss"]) for entry in log if "eval_loss" in entry]


def should_stop(losses: Iterable[float], patience: int | None, threshold: float) -> bool:
    """True when the last ``patience`` losses were none of them lower than the best before by more than ``threshold``.

    As transformers' EarlyStoppingCallback counts; ``patience`` None never stops.
    """
    best, waited = float("inf"), 0
    for loss in losses:
        waited = 0 if best - loss > threshold else waited + 1
        best = loss if loss < best else best
    return patience is not None and waited >= patience
