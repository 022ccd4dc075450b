"""Something to wait for that comes at a time or when it is called, whichever is first."""

from __future__ import annotations

import asyncio


class Alarm:
    """``asyncio.wait_for`` would do the same with a task of its own, which kopf takes for one of its own when it ends
    and cancels; and up to Python 3.11 it may lose that it was itself cancelled."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Whoever waits, or waits next, goes on at once."""
        self._rung.set()

    async def wait(self, seconds: float | None) -> None:
        """Returns after ``seconds`` (None: never by itself), or when it rings."""
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._rung.set)
        try:
            await self._rung.wait()
        finally:
            self._rung.clear()
            if timer is not None:
                timer.cancel()
