"""Asks the pods of running custom resources how far they are, without a word to the API server.

A pass over a custom resource finds that its pod works and has it followed. From then on the pod is asked every few
seconds, and what it says is heard by its kind: the metrics show it at once. The custom resource is put in line only
when its status should say so. What decides something is written at once. What is only progress waits for its turn, and
all of it shares WRITES_PER_SECOND: the more run, the less often each is written.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .alarm import Alarm
from .controller import Key
from .pace import Pace
from .queue import WorkQueue

log = logging.getLogger(__name__)

WRITES_PER_SECOND = 6.0
"""Status writes that carry nothing but progress, of all custom resources together. Each costs the API server about 20
ms: this many keep it under 0.2 cores however many run, and 18 jobs can still be written every 3 seconds."""
AT_ONCE = 64
"""Pods asked at the same time. More would keep the event loop from everything else for longer."""
SILENT_TIMES = 5
"""Answers in a row that did not come before the custom resource is looked at: its pod may be gone, and nobody said."""
SLOWEST = 5
"""A pod that does not answer is asked down to so many times less often."""
IDLE_SECONDS = 30.0
"""The loop shows that it is alive at least this often."""


class Wish(enum.Enum):
    """What a pod's answer means for the status of its custom resource."""

    NOTHING = "nothing"
    PROGRESS = "progress"
    """Worth a write, in its turn."""
    NOW = "now"
    """Something that decides."""


class Ear(Protocol):
    """Hears one pod for its kind."""

    def hear(self, text: str) -> None:
        """The body of an answer, as untrusted as its pod."""

    def wish(self) -> Wish:
        """What the last answer means, beside what the status on record says already."""


class Asking(Protocol):
    """``runtime.poll.Poller``."""

    async def progress(self, pod_ip: str) -> str | None:
        """The answer; None when there is no good one in time."""


@dataclass(eq=False)
class _Followed:
    key: Key
    pod_ip: str
    ear: Ear
    silent: int = 0
    """Answers in a row that did not come."""
    is_granted: bool = False
    """Its pass was asked for to write what the pod says."""


class Polls:
    """Every ``seconds`` one question to every pod that is followed."""

    def __init__(
        self,
        queue: WorkQueue[Key],
        poller: Asking,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = lambda: random.uniform(0.9, 1.1),  # noqa: S311 - jitter, not a secret
    ) -> None:
        self._queue = queue
        self._poller = poller
        self._seconds = seconds
        self._clock = clock
        self._spread = spread
        self._pace = Pace(WRITES_PER_SECOND)
        self._followed: dict[Key, _Followed] = {}
        self._waiting: dict[Key, None] = {}
        """Those with progress to write, in the order in which they came to have it."""
        self._heap: list[tuple[float, int, _Followed]] = []
        self._sequence = 0
        self._alarm = Alarm()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asking: set[asyncio.Task[None]] = set()
        self.asked = 0
        """Questions ever put to a pod."""
        self.due = float("inf")
        """When the loop has to have shown that it is alive, on ``clock``."""

    @property
    def followed(self) -> int:
        """Pods that are asked."""
        return len(self._followed)

    @property
    def waiting(self) -> int:
        """Custom resources whose progress waits for its turn to be written."""
        return len(self._waiting)

    def follow(self, key: Key, pod_ip: str, ear: Ear) -> None:
        """From now on ``ear`` hears the pod at ``pod_ip``, first at once; whoever was followed for ``key`` is left."""
        self.leave(key)
        self._followed[key] = followed = _Followed(key, pod_ip, ear)
        self._plan(followed, self._clock())

    def leave(self, key: Key) -> None:
        """Nobody is asked for ``key`` any more. An answer that is under way is not heard."""
        self._followed.pop(key, None)
        self._waiting.pop(key, None)

    def take(self, key: Key) -> bool:
        """Whether a pass over ``key`` is to write what the pod says. True once for every time it was put in line."""
        followed = self._followed.get(key)
        if followed is None or not followed.is_granted:
            return False
        followed.is_granted = False
        return True

    def consider(self, key: Key) -> None:
        """The pod has spoken or another status is on record: puts ``key`` in line for what the status should say."""
        followed = self._followed.get(key)
        if followed is None or followed.is_granted:
            return
        wish = _wish(followed)
        if wish is Wish.NOW:
            self._grant(followed)
        elif wish is Wish.PROGRESS:
            self._waiting.setdefault(key)
            self._alarm.ring()
        else:
            self._waiting.pop(key, None)

    async def ask(self, key: Key) -> None:
        """Asks the pod at once, for a decision that should not rest on what it said before. Grants nothing."""
        if followed := self._followed.get(key):
            await self._hear(followed)

    async def run(self) -> None:
        """Asks, and grants writes in turn; runs until cancelled."""
        try:
            while True:
                wait = self._step()
                self.due = self._clock() + wait
                await self._alarm.wait(wait)
        finally:
            for task in self._asking:
                task.cancel()

    def _step(self) -> float:
        """Everything that is due; returns the seconds until the next thing is."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            followed = heapq.heappop(self._heap)[2]
            if self._followed.get(followed.key) is followed:
                task = asyncio.create_task(self._poll(followed))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        if self._waiting and self._pace.take(now):
            self._grant(self._followed[next(iter(self._waiting))])
        moments = [now + IDLE_SECONDS, *([self._heap[0][0]] if self._heap else [])]
        if self._waiting:
            moments.append(self._pace.free_at)
        return max(0.0, min(moments) - now)

    def _grant(self, followed: _Followed) -> None:
        followed.is_granted = True
        self._waiting.pop(followed.key, None)
        self._queue.add(followed.key)

    def _plan(self, followed: _Followed, at: float) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, followed))
        self._alarm.ring()

    async def _poll(self, followed: _Followed) -> None:
        began = self._clock()
        async with self._free:
            await self._hear(followed)
        if self._followed.get(followed.key) is not followed:
            return
        self.consider(followed.key)
        if _is_suspicious(followed.silent):
            self._queue.add(followed.key)
        slower = min(SLOWEST, 1 + followed.silent // SILENT_TIMES)
        self._plan(followed, max(self._clock(), began + self._seconds * slower * self._spread()))

    async def _hear(self, followed: _Followed) -> None:
        self.asked += 1
        text = await self._poller.progress(followed.pod_ip)
        if self._followed.get(followed.key) is not followed:
            return
        followed.silent = 0 if text is not None else followed.silent + 1
        if text is None:
            return
        try:
            followed.ear.hear(text)
        except Exception:
            _complain(followed)


def _wish(followed: _Followed) -> Wish:
    try:
        return followed.ear.wish()
    except Exception:
        _complain(followed)
        return Wish.NOTHING


def _complain(followed: _Followed) -> None:
    """Pods run the users' code: nothing that one says may stop the others from being heard."""
    log.exception("what its pod says cannot be used", extra={"key": str(followed.key)})


def _is_suspicious(silent: int) -> bool:
    """After SILENT_TIMES, and again whenever the silence has lasted twice as long."""
    times, rest = divmod(silent, SILENT_TIMES)
    return rest == 0 and times > 0 and times & (times - 1) == 0
