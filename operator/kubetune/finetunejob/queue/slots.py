"""Who may start next in a namespace: live lists, and a place for everybody who was told to go ahead.

Passes over several FineTuneJobs run at the same time. They may not count on lists alone, which do not show what another
pass is about to create; so whoever is let in is noted here, in the same step of the event loop, and keeps that place
until a list taken later shows its Job. Only one operator runs at a time (the chart's Deployment is recreated, never
rolled), and what a killed one has let in either shows in the lists or has not happened.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from kubetune.common.labels import MANAGED_BY, MANAGER, Component
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.observed import Wait
from kubetune.kube.client import Client
from kubetune.kube.kinds import FINETUNEJOB, JOB
from kubetune.settings import Settings

from .peers import Peer, Room, holders, read_peer
from .places import Request, judge, reconsider

TRAININGS = {MANAGED_BY: MANAGER, "app.kubernetes.io/component": Component.TRAINER.value}


SETTLE_SECONDS = 60.0
"""After this long a Job that was about to be created exists or never will: requests give up after half of it."""


@dataclass
class _Namespace:
    """Peers and places as the last list showed them, and who was let in since."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    lists: int = 0
    peers: tuple[Peer, ...] | None = None
    holding: frozenset[str] = frozenset()
    let_in: dict[str, float] = field(default_factory=dict)
    """Uid -> when, on the event loop's clock."""


class Slots:
    """``wait`` says why a FineTuneJob that could start must not; costs nothing where nothing limits it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespaces: dict[str, _Namespace] = {}

    def limits(self, job: FineTuneJob) -> bool:
        """Whether a training of this job may have to wait at all."""
        has_places = bool(self._settings.max_running_per_namespace) and not job.spec.queue_name
        return has_places or job.metadata.namespace in self._settings.budgets

    async def wait(self, client: Client, request: Request) -> Wait | None:
        """Returns why the training has to wait, or None when it may start or stay; its place is taken from then on."""
        namespace, uid = request.job.metadata.namespace, request.job.metadata.uid
        space = self._namespaces.setdefault(namespace, _Namespace())
        asked = space.lists
        async with space.lock:
            # A list that was begun after the question answers it, too: many that wait share one.
            if space.peers is None or space.lists == asked:
                await self._look(client, space, namespace)
            if uid in space.let_in:
                return None
            room = Room(
                others=tuple(peer for peer in space.peers or () if peer.uid != uid),
                taken=space.holding | space.let_in.keys(),
            )
            if uid in space.holding:
                return reconsider(request, room, self._settings)
            wait = judge(request, room, self._settings)
            if wait is None:
                space.let_in[uid] = asyncio.get_running_loop().time()
            return wait

    def leave(self, job: FineTuneJob) -> None:
        """It does not want to run any more: what it was let in for is on record, or is not going to be."""
        space = self._namespaces.get(job.metadata.namespace)
        if space:
            space.let_in.pop(job.metadata.uid, None)

    async def _look(self, client: Client, space: _Namespace, namespace: str) -> None:
        space.peers = None
        space.lists += 1
        raw = await client.list(FINETUNEJOB, namespace)
        jobs = await client.list(JOB, namespace, labels=TRAININGS)
        space.peers = tuple(map(read_peer, raw))
        space.holding = holders(jobs)
        # Whoever shows in this list shows in every later one.
        waiting = {peer.uid: peer for peer in space.peers if peer.is_alive and peer.uid not in space.holding}
        oldest = asyncio.get_running_loop().time() - SETTLE_SECONDS
        space.let_in = {
            uid: moment
            for uid, moment in space.let_in.items()
            if uid in waiting and (waiting[uid].is_open or moment > oldest)
        }
