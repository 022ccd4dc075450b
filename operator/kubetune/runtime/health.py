"""The operator's own HTTP server: /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .controller import Key
from .metrics import Metrics
from .polls import Polls
from .queue import WorkQueue
from .resync import Resync

LAG_LIMIT = 5.0
"""Seconds the event loop may be late before a restart is the better choice."""
STUCK_LIMIT = 300.0
"""Seconds one pass may take; every request in it has a timeout of its own."""
BEAT_SECONDS = 0.5


class Health:
    """Measures the event loop and answers the kubelet."""

    def __init__(
        self,
        queue: WorkQueue[Key],
        resync: Resync,
        polls: Polls,
        metrics: Metrics,
        waits: Callable[[], str] = lambda: "",
    ) -> None:
        """``waits`` says what this process waits for before it acts at all; nothing once it acts."""
        self._queue = queue
        self._resync = resync
        self._polls = polls
        self._metrics = metrics
        self._waits = waits
        self._last_beat = time.monotonic()

    async def beat(self) -> None:
        """Measures how late the loop is; runs until cancelled."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self._metrics.loop_lag.set(max(0.0, time.monotonic() - self._last_beat - BEAT_SECONDS))

    def problem(self) -> str | None:
        """What is wrong with this process, None while it works."""
        late = time.monotonic() - self._last_beat - BEAT_SECONDS
        if late > LAG_LIMIT:
            return f"the event loop is {late:.0f} s late"
        longest = self._queue.longest_running
        if longest and longest[1] > STUCK_LIMIT:
            return f"{longest[0]} has been worked on for {longest[1]:.0f} s"
        overdue = time.monotonic() - self._resync.due
        if overdue > LAG_LIMIT:
            return f"the periodic look at all objects hangs: it is {overdue:.0f} s late"
        overdue = time.monotonic() - self._polls.due
        if overdue > LAG_LIMIT:
            return f"the asking of pods hangs: it is {overdue:.0f} s late"
        return None

    async def serve(self, port: int) -> web.AppRunner:
        """Listens on all addresses; the caller owes ``cleanup`` of what is returned."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=port).start()
        return runner

    async def _healthz(self, _: web.Request) -> web.Response:
        problem = self.problem()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        """One that waits for its turn is alive and not ready: a roll-out is over when the new operator acts."""
        missing = self._waits() or ("" if self._resync.done_once.is_set() else "first resync not done")
        return web.Response(text=missing or "ok", status=503 if missing else 200)

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
