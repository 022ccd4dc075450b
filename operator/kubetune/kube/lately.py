"""Lists that many passes ask for at the same time, each read once in a while for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from .client import Client

LATELY_SECONDS = 10.0
"""A list this old is read again."""
CLOCK_STEP = 1.0
"""Seconds: the API server tells no time more exactly."""


class Lately:
    """What was read lately over one connection."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._read: dict[str, tuple[float, Any]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, name: str, read: Callable[[], Awaitable[Any]], *, since: float) -> Any:
        """What ``read`` has answered lately, but after ``since``: who makes a pod after a change of the cluster is not
        told how it was before."""
        async with self._turns[name]:
            now = self._clock()
            begun, answer = self._read.get(name, (0.0, None))
            if begun < since + CLOCK_STEP or not begun <= now < begun + LATELY_SECONDS:
                begun, answer = now, await read()
                self._read[name] = begun, answer
            return answer


_OF_CLIENTS: WeakKeyDictionary[Client, Lately] = WeakKeyDictionary()


def lately(client: Client) -> Lately:
    """That of this connection."""
    return _OF_CLIENTS.setdefault(client, Lately())
