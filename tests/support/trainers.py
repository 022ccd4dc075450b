"""Doubles of training pods: they answer ``GET /progress`` as a trainer does, each on its address, and train nothing."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from types import TracebackType

from aiohttp import web

from kubetune_contract.paths import PROGRESS_PORT

STEPS = 100_000
STEPS_PER_SECOND = 5.0


BLOCK = 8 * 250
"""Addresses of one process: others may have doubles on this machine at the same time."""


def address(index: int) -> str:
    """That of the ``index``-th double of this process."""
    place = os.getpid() % 1000 * BLOCK + index
    return f"127.{64 + place // 62_500}.{place // 250 % 250}.{place % 250 + 1}"


class Trainers:
    """``count`` of them in a process of their own, so that what they cost is not the operator's; a context manager."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready = context.Event()
        self._process = context.Process(
            target=_serve, args=([address(index) for index in range(count)], self._ready), daemon=True
        )

    def __enter__(self) -> Trainers:
        self._process.start()
        if not self._ready.wait(60):
            self._process.kill()
            raise TimeoutError("the doubles of the trainers do not listen")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()


def _serve(addresses: list[str], ready: object) -> None:
    asyncio.run(_listen(addresses, ready))


async def _listen(addresses: list[str], ready: object) -> None:
    began = time.time()

    async def progress(_: web.Request) -> web.Response:
        now = time.time()
        said = {
            "phase": "training",
            "step": int((now - began) * STEPS_PER_SECOND),
            "totalSteps": STEPS,
            "updatedAt": now,
            "epoch": 0.5,
            "loss": 1.25,
            "learningRate": 1e-4,
            "gradNorm": 0.3,
            "tokens": 1000,
            "tokensPerSecond": 512.0,
            "etaSeconds": 3600.0,
            "stepSeconds": 0.2,
            "activeSeconds": now - began,
        }
        return web.Response(text=json.dumps(said), content_type="application/json")

    app = web.Application()
    app.router.add_get("/progress", progress)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for one in addresses:
        await web.TCPSite(runner, one, PROGRESS_PORT).start()
    ready.set()  # type: ignore[attr-defined]
    await asyncio.Event().wait()
