"""What is said about a running training: the progress document, with its rate and remaining time."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubetune_contract import Phase, RecoveryStep, Suggestion, TrainProgress, stopping

_LOGGED = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
}
_MEMORY = 0.9
"""Weight of the past in the moving average of a step's time."""


class Reporter:
    """Keeps the TrainProgress that ``publish`` is given after every change. Thread-safe."""

    def __init__(self, publish: Callable[[TrainProgress], None], now: Callable[[], float]) -> None:
        self._publish = publish
        self._now = now
        self._step_seconds: float | None = None
        self._last_step_at: float | None = None
        self._mark: tuple[int, float] | None = None
        """The first step of this process and when it was done: what is made once has been paid for by then."""
        self._tokens: tuple[float, float] | None = None
        self._active: Callable[[], float] | None = None
        self._lock = threading.Lock()
        self.begun = False
        """Whether the training loop has begun: until then memory that runs out is the loading's."""
        self._stopping = False
        self.progress = TrainProgress(Phase.LIBRARIES, 0, 0, now())
        publish(self.progress)

    def counting(self, active: Callable[[], float]) -> None:
        """From now on ``active`` tells the seconds all attempts have spent."""
        self._active = active
        self._update()

    def resumed(self, step: int, at: float | None, tokens: int, best: int | None) -> None:
        """The run goes on from the checkpoint of ``step``, stored ``at``; ``best`` is the step of the best one."""
        self._update(step=step, last_checkpoint=step, last_checkpoint_at=at, tokens=tokens, best_step=best)

    def phase(self, phase: str) -> None:
        """What is being done now. Once it is stopping, the loop's last moves do not show."""
        during = phase in {Phase.TRAINING, Phase.EVALUATING, Phase.SAVING}
        if self._stopping and during:
            return
        self._update(phase=str(phase), eta_seconds=self.progress.eta_seconds if during else None)

    def stopping(self, step: int) -> None:
        """Asked to stop: ``step`` is saved, and then it ends."""
        self.phase(stopping(step))
        self._stopping = True

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """``phase``, and afterwards the one before."""
        before = self.progress.phase
        self.phase(phase)
        try:
            yield
        finally:
            self.phase(before)

    def planned(self, total: int | None) -> None:
        """Steps of the whole run, as far as they can be told before it begins."""
        if total:
            self._update(total_steps=total)

    def begin(self, step: int, total: int) -> None:
        """Training starts, or goes on, after ``step`` steps of ``total``."""
        self._last_step_at, self.begun = self._now(), True
        self._update(phase=Phase.TRAINING, step=step, total_steps=total)

    def stepped(self, step: int) -> None:
        """An optimizer step is done."""
        now = self._now()
        if self._last_step_at is not None:
            seconds = now - self._last_step_at
            mean = self._step_seconds
            self._step_seconds = seconds if mean is None else _MEMORY * mean + (1 - _MEMORY) * seconds
        self._last_step_at = now
        self._update(step=step, step_seconds=self._step_seconds, eta_seconds=self._eta(step, now))

    def _eta(self, step: int, now: float) -> float | None:
        """Seconds left. By the mean over the steps so far with all pauses between them, for as many are still to come;
        by one step's time until there is a mean."""
        left = self.progress.total_steps - step
        if self._mark is None:
            self._mark = (step, now)
        first, since = self._mark
        if step > first:
            return left * (now - since) / (step - first)
        return None if self._step_seconds is None else left * self._step_seconds

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
            changes["tokens"] = int(tokens)
        self._update(**changes)

    def memory(self, peak_bytes: int | None) -> None:
        """The accelerator's peak memory so far; None leaves it out."""
        self._update(peak_vram_bytes=peak_bytes)

    def gpu(self, reserved_bytes: int, utilization: float | None) -> None:
        """Memory the process holds of its GPU now, and the share of the time in which that computed, if known."""
        self._update(reserved_vram_bytes=reserved_bytes, gpu_utilization=utilization)

    def suggest(self, suggestion: Suggestion | None) -> None:
        """Something a user could do better; told once for each reason, and None not at all."""
        known = self.progress.suggestions
        if suggestion and suggestion.reason not in {one.reason for one in known}:
            self._update(suggestions=(*known, suggestion))

    def recovered(self, steps: tuple[RecoveryStep, ...]) -> None:
        """What was done so far to save the run."""
        self._update(recovery=steps)

    def checkpointed(self, step: int, at: float, seconds: float, best: int | None) -> None:
        """A checkpoint is safe in the store since ``at``; it took ``seconds`` to get there."""
        longest = max(seconds, self.progress.checkpoint_seconds or 0.0)
        self._update(last_checkpoint=step, last_checkpoint_at=at, checkpoint_seconds=longest, best_step=best)

    def _update(self, **changes: Any) -> None:
        if self._active:
            changes["active_seconds"] = round(self._active(), 3)
        with self._lock:
            self.progress = dataclasses.replace(self.progress, updated_at=self._now(), **changes)
            self._publish(self.progress)
