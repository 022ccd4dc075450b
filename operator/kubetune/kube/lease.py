"""Only one operator acts: the one that holds a Lease (coordination.k8s.io/v1) and has renewed it a moment ago.

The rules are client-go's: who waits measures by its own clock how long the record has not changed; who holds stops
``DEADLINE_SECONDS`` after its last renewal, which is before the other may begin. The official Python client has a
leader election, too. It neither gives the lease back at the end nor stops a request that waits for its connection.

What is left: a request whose bytes are sent already takes effect whenever the network delivers it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kubetune.common.decision import Patch, Ref

from .client import Client, Object
from .errors import ApiError
from .kinds import LEASE

log = logging.getLogger(__name__)

LEASE_SECONDS = 14.0
"""So long after the last renewal nobody else may take it. Without a goodbye a hand-over takes two looks more."""
DEADLINE_SECONDS = 9.0
"""So long after the last renewal its holder may still write."""
RENEW_SECONDS = 2.0
LOOK_SECONDS = 1.0
"""Between two looks of one who waits."""


class LeaseLostError(Exception):
    """This operator may not act any more; only a new process may."""


class Lease:
    """One claim to act. It is the client's fence: ``check`` raises while it is not held."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``identity`` tells this operator from every other that may be alive; ``clock`` gives monotonic seconds."""
        self._client = client
        self._ref = Ref(LEASE.api_version, LEASE.kind, namespace, name)
        self._identity = identity
        self._clock = clock
        self._renewed: float | None = None
        """When the last renewal that came through was sent; None: not held."""
        self._version = ""
        """The resourceVersion of the record as we wrote it."""
        self._seen = ""
        self._seen_at = 0.0
        self.waits_for = "it has not been asked for yet"
        """What is in the way, for people."""

    @property
    def is_held(self) -> bool:
        return self._until(DEADLINE_SECONDS) > 0

    @property
    def seconds_left(self) -> float:
        """Until somebody else may hold it."""
        return self._until(LEASE_SECONDS)

    def _until(self, age: float) -> float:
        return 0.0 if self._renewed is None else max(0.0, self._renewed + age - self._clock())

    def check(self) -> None:
        """Raises ApiError, which a pass takes for trouble with the API server, when the lease is not held."""
        if not self.is_held:
            raise ApiError(0, "LeaseLost", f"this operator does not hold the Lease {self._place}", "write")

    async def acquire(self) -> None:
        """Returns once the lease is held. An API server that does not answer is waited for; other errors are raised."""
        while True:
            try:
                if await self.attempt():
                    log.info("holds the Lease %s as %s", self._place, self._identity)
                    return
            except ApiError as error:
                if not error.is_transient:
                    raise
                self._wait(str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def keep(self) -> None:
        """Renews; raises LeaseLostError when somebody else has the lease or no renewal came through in time."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            left = self._until(DEADLINE_SECONDS)
            if left > 0:
                try:
                    async with asyncio.timeout(left):
                        await self.attempt()
                except (ApiError, TimeoutError) as error:
                    self.waits_for = f"it could not be renewed: {error or 'no answer'}"
                    log.warning("the Lease %s: %s", self._place, self.waits_for)
            if not self.is_held:
                raise LeaseLostError(f"the Lease {self._place} is lost: {self.waits_for}")

    async def release(self) -> None:
        """Lets the next operator begin at once. Nothing may be written after this; a failure costs it a wait."""
        if not self.is_held:
            return
        self._renewed = None
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                await self._write({"holderIdentity": "", "renewTime": _now(), "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s was not given back: %s", self._place, error or "no answer")

    async def attempt(self) -> bool:
        """Takes or renews the lease if that is possible now. Raises ApiError."""
        asked = self._clock()
        if self._renewed is not None:
            try:
                return await self._take(asked, {})
            except ApiError as error:
                if not (error.is_conflict or error.is_not_found):
                    raise
        stored = await self._client.get(LEASE, self._ref.namespace, self._ref.name)
        if stored is None:
            return await self._make(asked)
        spec, self._version = stored.get("spec") or {}, stored["metadata"]["resourceVersion"]
        holder = spec.get("holderIdentity") or ""
        if not self._is_free(holder, spec):
            self._renewed = None
            self._wait(f"{holder} holds it")
            return False
        news = {"acquireTime": _now(), "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        try:
            return await self._take(asked, {} if holder == self._identity else news)
        except ApiError as error:
            if not error.is_conflict:
                raise
            self._wait("another operator was faster")
            return False

    def _is_free(self, holder: str, spec: Object) -> bool:
        """Given back, ours, or not renewed for its own duration since we first saw this record."""
        if self._version != self._seen:
            self._seen, self._seen_at = self._version, self._clock()
        duration = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        return holder in {"", self._identity} or self._clock() - self._seen_at >= duration

    async def _take(self, asked: float, more: Object) -> bool:
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": int(LEASE_SECONDS), "renewTime": _now()}
        await self._write(spec | more)
        self._renewed = asked
        return True

    async def _write(self, spec: Object) -> None:
        """Refused with 409 when the record is not the one that was read or written last."""
        written = await self._client.patch(
            Patch(self._ref, {"metadata": {"resourceVersion": self._version}, "spec": spec})
        )
        self._version = written["metadata"]["resourceVersion"]

    async def _make(self, asked: float) -> bool:
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": 0,
        }
        metadata = {"namespace": self._ref.namespace, "name": self._ref.name}
        try:
            made = await self._client.create(
                {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
            )
        except ApiError as error:
            if not error.is_already_exists:
                raise
            self._renewed = None
            self._wait("another operator was faster")
            return False
        self._version, self._renewed = made["metadata"]["resourceVersion"], asked
        return True

    def _wait(self, reason: str) -> None:
        if reason != self.waits_for:
            log.info("waits for the Lease %s: %s", self._place, reason)
        self.waits_for = reason

    @property
    def _place(self) -> str:
        return f"{self._ref.namespace}/{self._ref.name}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
