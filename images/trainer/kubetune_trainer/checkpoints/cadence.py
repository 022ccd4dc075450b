"""When a checkpoint is due. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Cadence:
    """Every so many steps, and at the end of the first step after so many minutes; either may be off."""

    def __init__(self, steps: int | None, minutes: float, now: Callable[[], float]) -> None:
        self._steps, self._seconds, self._now = steps, minutes * 60, now
        self._last = now()

    @property
    def enabled(self) -> bool:
        """False when no checkpoints are wanted."""
        return bool(self._steps or self._seconds)

    def due(self, step: int) -> bool:
        """True when one should be saved after ``step``."""
        by_steps = bool(self._steps) and step % (self._steps or 1) == 0
        return by_steps or (self._seconds > 0 and self._now() - self._last >= self._seconds)

    def begin(self) -> None:
        """Minutes count from here: training begins, or a checkpoint was just saved."""
        self._last = self._now()
