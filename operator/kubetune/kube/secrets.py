"""Whether a Secret exists, without the right to read any.

The API server is asked to create one of that name as a dry run, which stores nothing: it refuses when there is one.
Where this operator may not ask (the chart's rbac.checkSecrets is off), the kubelet tells in its stead once a pod waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from .client import Client
from .errors import ApiError

KNOWN_SECONDS = 60.0
"""A Secret that was there is taken to be there for so long: hardly one is deleted."""
REFUSED_SECONDS = 600.0
"""Rights are given by people; until then nothing is asked."""


class SecretCheck:
    """Remembers what was there, so that a thousand jobs of a namespace ask once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """In a namespace one asks at a time: the others find the answer, in the order in which they came."""

    async def missing(self, client: Client, namespace: str, names: Iterable[str]) -> frozenset[str]:
        """Those of ``names`` that surely do not exist."""
        async with self._turns[namespace]:
            return frozenset([name for name in dict.fromkeys(names) if await self._is_missing(client, namespace, name)])

    async def _is_missing(self, client: Client, namespace: str, name: str) -> bool:
        key, now = (namespace, name), self._clock()
        if self._until.get(key, 0.0) > now:
            return False
        self._until = {known: until for known, until in self._until.items() if until > now}
        try:
            is_free = await client.could_create(_blank(namespace, name))
        except ApiError as error:
            if error.is_transient or error.is_not_found:
                raise
            # No right to ask, a quota or a webhook that refuses: nothing is known.
            self._until[key] = now + REFUSED_SECONDS
            return False
        if not is_free:
            self._until[key] = now + KNOWN_SECONDS
        return is_free


def _blank(namespace: str, name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}}
