"""How often something may happen in all, however many ask for it."""

from __future__ import annotations


class Pace:
    """Lets one go every ``1 / per_second`` seconds. Nothing is saved up while nobody asks.

    In any ``t`` seconds at most ``per_second * t + 1`` go. N that take turns therefore go once in N / per_second.
    """

    def __init__(self, per_second: float) -> None:
        self._step = 1.0 / per_second
        self.free_at = float("-inf")
        """When the next one may go, on the clock of the caller."""

    def take(self, now: float) -> bool:
        """Whether one may go now; the one that may has gone."""
        if now < self.free_at:
            return False
        self.free_at = now + self._step
        return True
