"""The composition root: builds every part once, starts them in order, stops them in the opposite one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from kubetune.handlers import watch
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.glance import Glance
from kubetune.registry import CUSTOM, Parts, controllers
from kubetune.runtime.controller import Key
from kubetune.runtime.health import Health
from kubetune.runtime.intake import Intake
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.reconciler import Reconciler
from kubetune.runtime.resync import Resync
from kubetune.settings import Settings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0
"""Time for the passes under way to end; below the 30 s a pod has between SIGTERM and SIGKILL."""


class StartError(Exception):
    """The operator cannot start; the message says what is missing."""


class HelperError(Exception):
    """A part that should run for ever has ended; only a restart helps."""


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Serves until SIGTERM, SIGINT or ``stop``. Raises StartError when the cluster is not prepared."""
    metrics = Metrics(resource.kind for resource in CUSTOM)
    client = await Client.connect(connections=settings.workers * 2, meter=metrics.requested)
    poller = Poller()
    try:
        await _check_served(client)
        await _serve(settings, client, poller, metrics, stop)
    finally:
        await poller.close()
        await client.close()


async def _serve(
    settings: Settings, client: Client, poller: Poller, metrics: Metrics, stop: asyncio.Event | None
) -> None:
    queue: WorkQueue[Key] = WorkQueue(time.monotonic)
    metrics.watch_queue(queue)
    polls = Polls(queue, poller, settings.poll_seconds)
    metrics.watch_polls(polls)
    built = controllers(Parts(settings, polls, metrics))
    reconciler = Reconciler(client, built, queue, metrics, glance=Glance(client))
    resync = Resync(client, queue, reconciler.seen, metrics.inventory)
    intake = Intake(queue, reconciler.seen, reconciler.references, metrics.inventory, reconciler.forget)
    health = Health(queue, resync, polls, metrics)
    server = await health.serve(settings.http_port)
    # kopf cancels every task that was created after it started; these must outlive it to be drained.
    workers = [asyncio.create_task(reconciler.work(), name="worker") for _ in range(settings.workers)]
    helpers = [
        asyncio.create_task(queue.run_timers(), name="timers"),
        asyncio.create_task(polls.run(), name="polls"),
        asyncio.create_task(health.beat(), name="heartbeat"),
        asyncio.create_task(resync.run(CUSTOM, settings.namespaces, settings.resync_seconds), name="resync"),
    ]
    log.info("started: %d workers, http port %d", settings.workers, settings.http_port)
    try:
        watching = watch(intake, client.told, client.configuration, settings.namespaces, stop)
        await supervise(watching, [*workers, *helpers])
    finally:
        log.info("stopping: %d passes under way, %d keys in line", queue.running, queue.depth)
        queue.close(len(workers))
        _, late = await asyncio.wait(workers, timeout=DRAIN_SECONDS)
        for task in [*helpers, *late]:
            task.cancel()
        await asyncio.gather(*helpers, *late, return_exceptions=True)
        await server.cleanup()
        log.info("stopped")


async def supervise(watching: Coroutine[Any, Any, None], parts: Sequence[asyncio.Task[Any]]) -> None:
    """Returns or raises as ``watching`` does; raises HelperError as soon as one of ``parts`` ends before it."""
    main = asyncio.create_task(watching, name="watches")
    try:
        ended, _ = await asyncio.wait({main, *parts}, return_when=asyncio.FIRST_COMPLETED)
        if main not in ended:
            part = ended.pop()
            cause = None if part.cancelled() else part.exception()
            raise HelperError(f"{part.get_name()} has ended: {cause!r}") from cause
        await main
    finally:
        if not main.done():
            main.cancel()
            await asyncio.wait({main}, timeout=DRAIN_SECONDS)


async def _check_served(client: Client) -> None:
    try:
        missing = [resource.plural for resource in CUSTOM if not await client.is_served(resource)]
    except ApiError as error:
        raise StartError(f"the API server at {client.configuration.host} cannot be used: {error}") from error
    if missing:
        group = CUSTOM[0].group
        names = ", ".join(f"{plural}.{group}" for plural in missing)
        raise StartError(f"the cluster does not serve {names}; install the CRDs first: kubectl apply -f crds/")
