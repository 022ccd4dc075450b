"""Which custom resources wait for which others; a hint that saves waiting for the next resync."""

from __future__ import annotations

from collections.abc import Iterable

from .controller import Key


class References:
    """A map in both directions between referrers and what they refer to."""

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Key]] = {}
        self._referrers: dict[Key, set[Key]] = {}

    def set(self, referrer: Key, targets: Iterable[Key]) -> None:
        """Replaces what ``referrer`` refers to."""
        new = frozenset(targets)
        old = self._targets.get(referrer, frozenset())
        if new == old:
            return
        for target in old - new:
            self._referrers[target].discard(referrer)
            if not self._referrers[target]:
                del self._referrers[target]
        for target in new - old:
            self._referrers.setdefault(target, set()).add(referrer)
        if new:
            self._targets[referrer] = new
        else:
            self._targets.pop(referrer, None)

    def referrers(self, target: Key) -> tuple[Key, ...]:
        return tuple(self._referrers.get(target, ()))
