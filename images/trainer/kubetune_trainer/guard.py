"""Notices a training that has gone wrong for good. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

PATIENCE_FP16 = 3
"""Logs in a row with a non-finite gradient norm; loss scaling skips single such steps by design."""


class DivergenceGuard:
    """Watches the logged loss and gradient norm; ``problem`` is set once one of them is lost."""

    def __init__(self, precision: str) -> None:
        self._patience = PATIENCE_FP16 if precision == "float16" else 1
        self._bad_gradients = 0
        self._last_good: tuple[int, float] | None = None
        self.problem: str | None = None

    def watch(self, step: int, values: Mapping[str, Any]) -> bool:
        """True when the training should stop."""
        loss, gradient = values.get("loss"), values.get("grad_norm")
        if _is_lost(loss):
            self.problem = f"the loss became {loss} at step {step}"
        self._bad_gradients = self._bad_gradients + 1 if _is_lost(gradient) else 0
        if self._bad_gradients >= self._patience and not self.problem:
            self.problem = f"the gradient norm became {gradient} at step {step}"
        if not self.problem and isinstance(loss, (int, float)):
            self._last_good = (step, float(loss))
        return self.problem is not None

    def check(self, learning_rate: float) -> None:
        """Raises KubeTuneError (DIVERGED) when ``watch`` found a problem."""
        if self.problem:
            before = f"; it was {self._last_good[1]:.4g} at step {self._last_good[0]}" if self._last_good else ""
            raise diverged(f"{self.problem}{before}", learning_rate)


def diverged(problem: str, learning_rate: float) -> KubeTuneError:
    """The failure for numbers that cannot be recovered."""
    return KubeTuneError(
        ExitCode.DIVERGED,
        "Diverged",
        f"{problem}. Nothing was published. Lower learningRate (now {learning_rate:g}), lengthen the warm-up "
        "(warmupRatio), or look for broken rows in the data",
    )


def _is_lost(value: Any) -> bool:
    return isinstance(value, (int, float)) and not math.isfinite(value)
