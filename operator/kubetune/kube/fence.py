"""A write is sent only while this process may write: asked at the last moment, when its connection is there.

Between the decision to write and the first byte a request may wait for a connection, and a process may be stopped and
woken a minute later. What was true before that wait says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import aiohttp


class Fence(Protocol):
    """Who may write, and for how long."""

    def check(self) -> None:
        """Raises ApiError when this process may not write now."""

    @property
    def seconds_left(self) -> float:
        """A request that is sent now must be over within this time."""


_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def fenced(fence: Fence | None) -> Iterator[None]:
    """Requests of a session with ``tracing()`` that are made inside are sent only when ``fence`` lets them."""
    token = _CHECK.set(None if fence is None else fence.check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def tracing() -> aiohttp.TraceConfig:
    """For a session: asks the fence when a request has its connection."""
    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(_ask)
    config.on_connection_reuseconn.append(_ask)
    return config


async def _ask(*_: object) -> None:
    check = _CHECK.get()
    if check is not None:
        check()
