"""The work queue: each key at most once in line and never worked on twice at a time, with delays and back-off."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .alarm import Alarm

K = TypeVar("K", bound=Hashable)

BASE_SECONDS = 1.0
LIMIT_SECONDS = 300.0


class WorkQueue(Generic[K]):
    """After client-go's workqueue: ``add`` marks a key dirty; a key that is being worked on runs once more afterwards.

    ``clock`` gives monotonic seconds; ``spread`` a factor for back-off, so that failures do not come back together.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        spread: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311 - jitter, not a secret
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._ready: asyncio.Queue[K | None] = asyncio.Queue()
        self._dirty: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._alarm = Alarm()
        self._closed = False
        self.adds = 0
        self.retries = 0

    def add(self, key: K) -> None:
        """Puts ``key`` in line unless it is there already. Whatever was planned for later happens now."""
        if self._closed:
            return
        self._due.pop(key, None)
        if key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = self._clock()
        if key not in self._processing:
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Adds ``key`` after a delay, or earlier if it is planned earlier already."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._closed or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._alarm.ring()

    def add_failed(self, key: K, at_least: float = 0.0, base: float = BASE_SECONDS) -> float:
        """Adds ``key`` after a delay that starts at ``base`` and doubles with every failure in a row; returns it."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        wait = min(LIMIT_SECONDS, base * 2.0 ** min(failures, 20)) * self._spread()
        wait = max(wait, at_least)
        self.add_after(key, wait)
        return wait

    def forget(self, key: K) -> None:
        """Ends the row of failures of ``key``."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key; the caller owes ``done``. None once the queue is closed."""
        key = await self._ready.get()
        if key is None:
            return None
        self._processing[key] = self._clock()
        del self._dirty[key]
        return key

    def done(self, key: K) -> None:
        del self._processing[key]
        if key in self._dirty:
            self._ready.put_nowait(key)

    async def run_timers(self) -> None:
        """Moves planned keys into line when they are due; runs until cancelled."""
        while True:
            now = self._clock()
            while self._heap and self._heap[0][0] <= now:
                due, _, key = heapq.heappop(self._heap)
                # An entry that was overtaken by an earlier plan or by an event no longer counts.
                if self._due.get(key) == due:
                    self.add(key)
            wait = self._heap[0][0] - now if self._heap else None
            await self._alarm.wait(wait)

    def close(self, workers: int) -> None:
        """Lets ``workers`` callers of ``get`` end; keys in line are dropped, the next start finds them again."""
        self._closed = True
        while not self._ready.empty():
            self._ready.get_nowait()
        for _ in range(workers):
            self._ready.put_nowait(None)

    @property
    def depth(self) -> int:
        """Keys in line."""
        return len(self._dirty)

    @property
    def running(self) -> int:
        """Keys being worked on."""
        return len(self._processing)

    @property
    def planned(self) -> int:
        """Keys with a later time."""
        return len(self._due)

    @property
    def oldest_age(self) -> float:
        """Seconds the key that waits longest has been in line."""
        return self._clock() - min(self._dirty.values()) if self._dirty else 0.0

    @property
    def longest_running(self) -> tuple[K, float] | None:
        """The key worked on for the longest time, and that time in seconds."""
        if not self._processing:
            return None
        key = min(self._processing, key=self._processing.__getitem__)
        return key, self._clock() - self._processing[key]
