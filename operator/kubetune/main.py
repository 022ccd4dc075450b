"""The composition root: builds every part once, starts them in order, stops them in the opposite one."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from kubetune.handlers import watch
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.glance import Glance
from kubetune.kube.lease import Lease
from kubetune.registry import CUSTOM, Parts, controllers, turns
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


@dataclass(frozen=True)
class _Operator:
    """What the process is made of."""

    settings: Settings
    client: Client
    lease: Lease
    queue: WorkQueue[Key]
    polls: Polls
    reconciler: Reconciler
    resync: Resync
    intake: Intake
    health: Health

    @classmethod
    def build(cls, settings: Settings, client: Client, poller: Poller, metrics: Metrics) -> _Operator:
        identity = settings.pod_name or f"{socket.gethostname()}_{uuid4()}"
        lease = client.fence = Lease(client, settings.lease_namespace, settings.lease_name, identity)
        metrics.holds_lease.set_function(lambda: float(lease.is_held))
        queue: WorkQueue[Key] = WorkQueue(time.monotonic)
        metrics.watch_queue(queue)
        polls = Polls(queue, poller, settings.poll_seconds)
        metrics.watch_polls(polls)
        built = controllers(Parts(settings, polls, metrics))
        reconciler = Reconciler(client, built, queue, metrics, glance=Glance(client))
        resync = Resync(client, queue, reconciler.seen, metrics.inventory)
        intake = Intake(
            queue, reconciler.seen, reconciler.references, metrics.inventory, reconciler.forget, turns=turns
        )
        health = Health(
            queue, resync, polls, metrics, lambda: "" if lease.is_held else f"not acting: {lease.waits_for}"
        )
        return cls(settings, client, lease, queue, polls, reconciler, resync, intake, health)


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Serves until SIGTERM, SIGINT or ``stop``. Raises StartError when the cluster is not prepared."""
    metrics = Metrics(resource.kind for resource in CUSTOM)
    client = await Client.connect(connections=settings.workers * 2, meter=metrics.requested)
    poller = Poller()
    try:
        await _serve(_Operator.build(settings, client, poller, metrics), stop)
    finally:
        await poller.close()
        await client.close()


async def _serve(parts: _Operator, stop: asyncio.Event | None) -> None:
    """Acts while it holds the lease, and at no other time; answers the kubelet all along."""
    server = await parts.health.serve(parts.settings.http_port)
    beat = asyncio.create_task(parts.health.beat(), name="heartbeat")
    try:
        if await _acquire(parts.lease, stop):
            await _check_served(parts.client)
            await _act(parts, beat, stop)
    finally:
        await parts.lease.release()
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await server.cleanup()
        log.info("stopped")


async def _act(parts: _Operator, beat: asyncio.Task[None], stop: asyncio.Event | None) -> None:
    """Returns when no pass is under way any more."""
    settings, queue, lease = parts.settings, parts.queue, parts.lease
    # kopf cancels every task that was created after it started; these must outlive it to be drained.
    workers = [asyncio.create_task(parts.reconciler.work(), name="worker") for _ in range(settings.workers)]
    helpers = [
        asyncio.create_task(lease.keep(), name="lease"),
        asyncio.create_task(queue.run_timers(), name="timers"),
        asyncio.create_task(parts.polls.run(), name="polls"),
        asyncio.create_task(parts.resync.run(CUSTOM, settings.namespaces, settings.resync_seconds), name="resync"),
    ]
    log.info("started: %d workers, http port %d", settings.workers, settings.http_port)
    watching = watch(parts.intake, parts.client.told, parts.client.configuration, settings.namespaces, stop)
    try:
        await supervise(watching, [beat, *workers, *helpers])
    finally:
        log.info("stopping: %d passes under way, %d keys in line", queue.running, queue.depth)
        queue.close(len(workers))
        # A pass whose writes are refused anyway is not waited for.
        _, late = await asyncio.wait(workers, timeout=DRAIN_SECONDS if lease.is_held else 0)
        for task in [*helpers, *late]:
            task.cancel()
        await asyncio.gather(*helpers, *late, return_exceptions=True)


async def _acquire(lease: Lease, stop: asyncio.Event | None) -> bool:
    """False when ``stop`` came first. Raises StartError when this operator may not have the lease at all."""
    taking = asyncio.create_task(lease.acquire(), name="acquire")
    signalled = asyncio.Event()
    waits = [asyncio.create_task(event.wait(), name="stop") for event in (signalled, stop or asyncio.Event())]
    with _until_signalled(signalled):
        await asyncio.wait({taking, *waits}, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if not taking.done():
        taking.cancel()
        return False
    error = taking.exception()
    if error:
        raise StartError(f"this operator cannot take the lease without which none acts: {error}") from error
    return True


@contextmanager
def _until_signalled(event: asyncio.Event) -> Iterator[None]:
    """Sets ``event`` at SIGTERM or SIGINT. kopf listens to them only later, and the first process of a container is not
    ended by what it does not listen to."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in signals:
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


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
