"""Whether a Secret exists, without the right to read any.

The API server is asked to create one of that name as a dry run, which stores nothing: it refuses when there is one.
Where this operator may not ask (the chart's rbac.checkSecrets is off), the kubelet tells in its stead once a pod waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .client import Client
from .errors import ApiError

KNOWN_SECONDS = 60.0
"""A Secret that was there is taken to be there for so long: hardly one is deleted."""
MISSING_SECONDS = 2.0
"""One that was missing is taken to be: less than anybody waits until the next look, and enough for a thousand to ask
once."""
BROKEN_SECONDS = 15.0
"""A webhook or the server is in trouble, which passes."""
REFUSED_SECONDS = 600.0
"""Rights are given by people; until then nothing is asked."""


class SecretCheck:
    """Remembers what it was told, so that a thousand jobs of a namespace ask once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], _Answer] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """In a namespace one asks at a time: the others find the answer, in the order in which they came."""

    async def missing(self, client: Client, namespace: str, names: Iterable[str]) -> frozenset[str]:
        """Those of ``names`` that surely do not exist."""
        async with self._turns[namespace]:
            return frozenset([name for name in dict.fromkeys(names) if await self._is_missing(client, namespace, name)])

    async def _is_missing(self, client: Client, namespace: str, name: str) -> bool:
        key, now = (namespace, name), self._clock()
        if key not in self._known or self._known[key].until <= now:
            self._known = {key: answer for key, answer in self._known.items() if answer.until > now}
            is_missing, seconds = await self._ask(client, namespace, name)
            self._known[key] = _Answer(is_missing, now + seconds)
        return self._known[key].is_missing

    async def _ask(self, client: Client, namespace: str, name: str) -> tuple[bool, float]:
        """Whether it is missing, and for how many seconds that is believed."""
        try:
            is_free = await client.could_create(_blank(namespace, name))
        except ApiError as error:
            if error.status >= 500:
                # The kubelet tells in its stead; a webhook for Secrets that is down must not stop everything else.
                return False, BROKEN_SECONDS
            if error.is_transient or error.is_not_found:
                raise
            # No right to ask, a quota or a webhook that refuses: nothing is known.
            return False, REFUSED_SECONDS
        return is_free, MISSING_SECONDS if is_free else KNOWN_SECONDS


@dataclass(frozen=True)
class _Answer:
    is_missing: bool
    until: float


def _blank(namespace: str, name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}}
