"""What is said about a running training: the progress document, with its rate and remaining time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubetune_contract import TrainProgress

_LOGGED = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
}
_MEMORY = 0.9
"""Weight of the past in the moving average of a step's time."""


def mean_logged_loss(history: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean loss per step from a log whose entries each stand for the steps since the one before; None without any."""
    total, last = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total += float(entry["loss"]) * (entry["step"] - last)
            last = entry["step"]
    return total / last if last else None


class Reporter:
    """Keeps the TrainProgress that ``publish`` is given after every change."""

    def __init__(self, publish: Callable[[TrainProgress], None], now: Callable[[], float]) -> None:
        self._publish = publish
        self._now = now
        self._step_seconds: float | None = None
        self._last_step_at: float | None = None
        self._tokens: tuple[float, float] | None = None
        self.progress = TrainProgress("preparing", 0, 0, now())
        publish(self.progress)

    def phase(self, phase: str) -> None:
        """``preparing``, ``training``, ``publishing``, ``done`` or ``failed``."""
        self._update(phase=phase, eta_seconds=self.progress.eta_seconds if phase == "training" else None)

    def begin(self, step: int, total: int) -> None:
        """Training starts, or goes on, after ``step`` steps of ``total``."""
        self._last_step_at = self._now()
        self._update(phase="training", step=step, total_steps=total)

    def stepped(self, step: int) -> None:
        """An optimizer step is done."""
        now = self._now()
        if self._last_step_at is not None:
            seconds = now - self._last_step_at
            mean = self._step_seconds
            self._step_seconds = seconds if mean is None else _MEMORY * mean + (1 - _MEMORY) * seconds
        self._last_step_at = now
        left = self.progress.total_steps - step
        self._update(step=step, eta_seconds=None if self._step_seconds is None else left * self._step_seconds)

    def paused(self) -> None:
        """Time since the last step went into something else, such as an evaluation, and tells nothing of steps."""
        self._last_step_at = self._now()

    def logged(self, values: Mapping[str, Any]) -> None:
        """Numbers the training loop logged; those that are not finite are shown as missing."""
        changes: dict[str, Any] = {
            ours: float(values[theirs]) if math.isfinite(float(values[theirs])) else None
            for theirs, ours in _LOGGED.items()
            if isinstance(values.get(theirs), (int, float))
        }
        tokens = values.get("num_tokens")
        if isinstance(tokens, (int, float)):
            now = self._now()
            if self._tokens and now > self._tokens[1] and tokens > self._tokens[0]:
                changes["tokens_per_second"] = (tokens - self._tokens[0]) / (now - self._tokens[1])
            self._tokens = (tokens, now)
        self._update(**changes)

    def memory(self, peak_bytes: int | None) -> None:
        """The accelerator's peak memory so far; None leaves it out."""
        self._update(peak_vram_bytes=peak_bytes)

    def checkpointed(self, step: int) -> None:
        """A checkpoint is safe in the store."""
        self._update(last_checkpoint=step)

    def _update(self, **changes: Any) -> None:
        self.progress = dataclasses.replace(self.progress, updated_at=self._now(), **changes)
        self._publish(self.progress)
