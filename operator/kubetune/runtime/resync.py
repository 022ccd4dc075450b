"""Looks at everything now and then: turns a lost event into a delay instead of a mistake."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import Resource

from .controller import Key
from .inventory import Facts, Inventory, facts_of
from .queue import WorkQueue
from .seen import Seen

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
PAGE_SECONDS = 60.0
"""The longest that one page may take; its request has a shorter timeout of its own."""


class Resync:
    """``done_once`` is set after the first complete listing of all kinds; ``due`` is when it has to be alive again."""

    def __init__(self, client: Client, queue: WorkQueue[Key], seen: Seen, inventory: Inventory) -> None:
        self._client = client
        self._queue = queue
        self._seen = seen
        self._inventory = inventory
        self.done_once = asyncio.Event()
        self.due = float("inf")
        """On the monotonic clock."""

    async def run(self, resources: tuple[Resource, ...], namespaces: tuple[str, ...], seconds: float) -> None:
        """Lists all custom resources every ``seconds``, a little earlier or later; runs until cancelled."""
        while True:
            wait = seconds * random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not a secret
            self.due = time.monotonic() + PAGE_SECONDS
            try:
                await self._once(resources, namespaces)
                self.done_once.set()
            except ApiError as error:
                log.warning("resync failed, again in %.0f s: %s", RETRY_SECONDS, error)
                wait = RETRY_SECONDS
            except Exception:
                # A proxy's answer that is no JSON, an object without metadata: the next listing may be a good one.
                log.exception("resync failed, again in %.0f s", RETRY_SECONDS)
                wait = RETRY_SECONDS
            self.due = time.monotonic() + wait
            await asyncio.sleep(wait)

    async def _once(self, resources: tuple[Resource, ...], namespaces: tuple[str, ...]) -> None:
        alive: set[str] = set()
        missed = self._seen.known_keys()
        for resource in resources:
            facts: dict[str, Facts] = {}
            for namespace in namespaces or (None,):
                async for page in self._client.pages(resource, namespace):
                    self.due = time.monotonic() + PAGE_SECONDS
                    for item in page:
                        metadata = item["metadata"]
                        facts[metadata["uid"]] = facts_of(item)
                        key = Key(resource.kind, metadata["namespace"], metadata["name"])
                        if self._seen.is_custom_news(item):
                            whole = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                            self._seen.arrivals.note(key, whole)
                        self._queue.add(key)
                        missed.discard(key)
            self._inventory.replace(resource.kind, facts)
            alive |= facts.keys()
        self._seen.prune(alive)
        for key in missed:
            # It is gone and no watch has told: its pass finds that and frees what is kept about it.
            self._queue.add(key)
