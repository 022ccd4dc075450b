"""Notices a training that has gone wrong for good. Pure.

Two signs: numbers that are not finite, and a loss that stays far above its own running mean. The mean and the variance
are exponentially weighted, so that a loss that falls, as it should, is always below what would be suspicious; values
that are suspicious do not move them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from kubetune_contract import ExitCode, KubeTuneError, Recovery

PATIENCE_FP16 = 3
"""Logs in a row with a non-finite gradient norm; loss scaling skips single such steps by design."""
WARM_UP = 10
"""Logged losses before one can be too high."""
WEIGHT = 0.1
"""Of the newest loss in the running mean: about the last twenty count."""
LEAST_DEVIATION = 0.05
"""Nats; a curve so flat that it has no deviation of its own does not make every bump a divergence."""


@dataclass
class RunningLoss:
    """Exponentially weighted mean and variance (West 1979), with equal weights for the first few values."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def add(self, value: float) -> None:
        """Takes a finite loss in."""
        self.count += 1
        weight = max(1 / self.count, WEIGHT)
        difference = value - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)

    def sigmas(self, value: float) -> float:
        """How many standard deviations ``value`` lies above the mean; 0 while too little is known."""
        if self.count < WARM_UP:
            return 0.0
        return (value - self.mean) / max(math.sqrt(self.variance), LEAST_DEVIATION)


class DivergenceGuard:
    """Watches the logged loss and gradient norm; ``problem`` is set once they have been bad for too long."""

    def __init__(self, precision: str, settings: Recovery) -> None:
        self._sigmas, self._patience = settings.loss_sigmas, settings.patience
        self._gradient_patience = max(settings.patience, PATIENCE_FP16) if precision == "float16" else settings.patience
        self._running = RunningLoss()
        self._bad_losses = self._bad_gradients = 0
        self._last_good: tuple[int, float] | None = None
        self.problem: str | None = None

    def replay(self, log: Iterable[Mapping[str, Any]]) -> None:
        """Takes in what the run logged before this process began; that it went on shows that all was well."""
        for entry in log:
            loss = entry.get("loss")
            if _is_number(loss) and not self.suspicious(loss):
                self._good(int(entry.get("step", 0)), loss)

    def watch(self, step: int, values: Mapping[str, Any]) -> bool:
        """True when the training should stop."""
        loss, gradient = values.get("loss"), values.get("grad_norm")
        if _is_number(loss):
            if self.suspicious(loss):
                self._bad_losses += 1
            else:
                self._bad_losses = 0
                self._good(step, loss)
        if _is_number(gradient):
            self._bad_gradients = 0 if math.isfinite(gradient) else self._bad_gradients + 1
        if self.problem is None:
            if self._bad_losses >= self._patience:
                self.problem = self._told(step, loss or 0.0)
            elif self._bad_gradients >= self._gradient_patience:
                self.problem = f"the gradient norm became {gradient} at step {step}{_repeated(self._bad_gradients)}"
        return self.problem is not None

    def suspicious(self, loss: float) -> bool:
        """True for a loss that is lost or too high."""
        return not math.isfinite(loss) or 0 < self._sigmas < self._running.sigmas(loss)

    def lost(self, step: int) -> None:
        """The weights themselves were found to be lost, which no patience can mend."""
        self.problem = self.problem or f"the weights became NaN or infinite by step {step}"

    @property
    def doubtful(self) -> bool:
        """True while what was logged last was bad: nothing that is made now may pass for good."""
        return self.problem is not None or self._bad_losses > 0

    def failure(self, kept: str, advice: str) -> KubeTuneError:
        """DIVERGED with the problem; ``kept`` tells of the last good checkpoint."""
        before = f"; it was {self._last_good[1]:.4g} at step {self._last_good[0]}" if self._last_good else ""
        return KubeTuneError(
            ExitCode.DIVERGED, "Diverged", f"{self.problem}{before}. Nothing was published. {kept} {advice}"
        )

    def _good(self, step: int, loss: float) -> None:
        self._running.add(loss)
        self._last_good = (step, loss)

    def _told(self, step: int, loss: float) -> str:
        often = _repeated(self._bad_losses)
        if not math.isfinite(loss):
            return f"the loss became {loss} at step {step}{often}"
        return (
            f"the loss rose to {loss:.4g} at step {step}, {self._running.sigmas(loss):.0f} standard deviations above "
            f"its running mean of {self._running.mean:.4g}{often}"
        )


def remedy(learning_rate: float) -> str:
    """What a user can do about a divergence."""
    return (
        f"Lower learningRate (now {learning_rate:g}), lengthen the warm-up (warmupRatio), or look for broken rows in "
        "the data"
    )


def _repeated(times: int) -> str:
    return f" ({times} logged values in a row were bad)" if times > 1 else ""


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
