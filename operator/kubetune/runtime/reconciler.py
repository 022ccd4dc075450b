"""The level-triggered loop: read, decide, write what differs, plan the next look."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from kubetune.common.decision import Decision
from kubetune.kube.client import Client, Object
from kubetune.kube.errors import ApiError, NotLive
from kubetune.kube.events import build_event

from .controller import AnyController, Key
from .metrics import Metrics
from .queue import WorkQueue
from .references import References
from .refusal import refuse_by_server, refuse_unreadable
from .seen import Seen
from .status_write import over, smaller

log = logging.getLogger(__name__)

CONFLICT_SECONDS = 0.2
"""Somebody else was faster: what is true now can be read at once."""
_SMALLER_TRIES = 4
"""Times that a refused status is made smaller; a refusal names up to all members that are wrong."""


class Reconciler:
    """Works on one key at a time per call; any number of calls may run at once for different keys."""

    def __init__(
        self,
        client: Client,
        controllers: Mapping[str, AnyController],
        queue: WorkQueue[Key],
        metrics: Metrics,
        glance: Client | None = None,
    ) -> None:
        """``glance`` reads with less than live reads cost; without one everything is read live."""
        self._client = client
        self._glance = glance
        self._controllers = controllers
        self._queue = queue
        self._metrics = metrics
        self.seen = Seen()
        self.references = References()

    async def work(self) -> None:
        """Takes keys until the queue is closed."""
        while (key := await self._queue.get()) is not None:
            try:
                await self.process(key)
            finally:
                self._queue.done(key)

    async def process(self, key: Key) -> None:
        """One pass with its outcome put back into the queue. Raises nothing: one object must not stop the others."""
        started = time.perf_counter()
        result = "error"
        try:
            again = await self._reconcile(key)
        except ApiError as error:
            self._plan_retry(key, error)
        except Exception:
            wait = self._queue.add_failed(key)
            log.exception("reconcile failed, again in %.0f s", wait, extra={"key": str(key)})
        else:
            result = "success" if again is None else "requeue_after"
            self._queue.forget(key)
            if again is not None:
                self._queue.add_after(key, again)
        self._metrics.reconciled(key.kind, result, time.perf_counter() - started)

    def forget(self, key: Key) -> None:
        """Frees what is kept in memory about a custom resource that is gone."""
        self._controllers[key.kind].forget(key)
        self.references.set(key, ())
        self.seen.forget_key(key)

    def _plan_retry(self, key: Key, error: ApiError) -> None:
        if error.is_conflict:
            wait = self._queue.add_failed(key, base=CONFLICT_SECONDS)
            log.debug("changed by somebody else, again in %.1f s: %s", wait, error, extra={"key": str(key)})
            return
        wait = self._queue.add_failed(key, at_least=error.retry_after or 0.0)
        log.warning("again in %.0f s: %s", wait, error, extra={"key": str(key)})

    async def _reconcile(self, key: Key) -> float | None:
        new = self.seen.arrivals.take(key)
        if new is not None and self.seen.is_custom_news(new):
            return await self._look(key, self._client, new)
        if self._glance is not None:
            try:
                return await self._look(key, self._glance)
            except NotLive:
                log.debug("looks again with live reads", extra={"key": str(key)})
        return await self._look(key, self._client)

    async def _look(self, key: Key, client: Client, raw: Object | None = None) -> float | None:
        controller = self._controllers[key.kind]
        if raw is None:
            raw = await client.get(controller.resource, key.namespace, key.name)
        if client is self._glance and not (raw or {}).get("status"):
            # Gone or new: memory is freed and children are created on nothing but what is true now.
            raise NotLive
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self.forget(key)
            return None
        self.seen.note_custom(raw)
        self.seen.keys.add(key)
        try:
            obj = controller.parse(raw)
        except ValidationError as error:
            return await self._conclude(key, raw, refuse_unreadable(raw, error, _now()))
        self.references.set(key, controller.references(obj))
        if not raw.get("status"):
            try:
                return await self._pass(key, client, raw, obj, fresh=True)
            except ApiError as error:
                if not error.is_already_exists:
                    raise
        return await self._pass(key, client, raw, obj, fresh=False)

    async def _pass(self, key: Key, client: Client, raw: Object, obj: Any, *, fresh: bool) -> float | None:
        controller = self._controllers[key.kind]
        observed = await controller.gather(client, obj, fresh=fresh)
        for child in controller.children(observed):
            self.seen.note_child(child)
        decision = controller.decide(obj, observed, _now())
        if client is self._glance and _decides(decision, raw):
            raise NotLive
        try:
            await self._carry_out(decision)
        except ApiError as error:
            if error.is_not_found or _is_ending(error):
                # The object or its whole namespace went away meanwhile; there is nothing left to tell.
                return None
            if not (error.is_forbidden or error.is_invalid):
                raise
            log.warning("refused: %s", error, extra={"key": str(key)})
            controller.refused(obj)
            # What has ended is not accepted any less because a Job of it stays.
            if decision.create or "completionTime" not in (raw.get("status") or {}):
                decision = refuse_by_server(raw, error, _now(), decision.refused, decision.status)
        return await self._conclude(key, raw, decision)

    async def _carry_out(self, decision: Decision) -> None:
        for obj in decision.create:
            self.seen.note_child(await self._client.create(obj))
        for obj in decision.apply:
            self.seen.note_child(await self._client.apply(obj))
        for stop in decision.stop:
            if stop.grace_seconds is None:
                await self._client.delete(stop.ref, foreground=True)
            else:
                await self._client.evict(stop.ref, stop.grace_seconds)
        for patch in decision.patch:
            self.seen.note_child(await self._client.patch(patch))
        for ref in decision.delete:
            await self._client.delete(ref)

    async def _conclude(self, key: Key, raw: Object, decision: Decision) -> float | None:
        """Writes the status if it differs, then posts the Events about the change."""
        metadata, status = raw["metadata"], over(raw.get("status"), decision.status)
        if status == raw.get("status"):
            self._controllers[key.kind].recorded(key, status)
            return decision.requeue_after
        try:
            written = await self._write(key, metadata["uid"], status)
        except ApiError as error:
            if error.is_not_found or _is_ending(error):
                return None
            raise
        if written["metadata"].get("generation") == metadata.get("generation"):
            self.seen.note_custom(written)
        else:
            # The spec changed between our read and our write; the event about it must not pass for our own echo.
            self._queue.add(key)
        self._controllers[key.kind].recorded(key, status)
        for event in decision.events:
            await self._post(raw, event)
        return decision.requeue_after

    async def _write(self, key: Key, uid: str, status: Object) -> Object:
        """A status that the API server does not take as it is becomes a smaller one: what it refuses must not keep the
        rest from being known."""
        resource = self._controllers[key.kind].resource
        for _ in range(_SMALLER_TRIES):
            try:
                return await self._client.apply_status(resource, key.namespace, key.name, uid, status)
            except ApiError as error:
                left = smaller(status, error.message)
                if not error.is_invalid or left == status:
                    raise
                log.warning("a part of the status was refused and is left out: %s", error, extra={"key": str(key)})
                status = left
        return await self._client.apply_status(resource, key.namespace, key.name, uid, status)

    async def _post(self, raw: Object, event: Any) -> None:
        try:
            await self._client.post_event(build_event(raw, event, _now()))
        except ApiError as error:
            log.warning("Event %s not posted: %s", event.reason, error)


def _now() -> datetime:
    return datetime.now(UTC)


def _decides(decision: Decision, raw: Object) -> bool:
    """Whether more follows than a status that the next look may correct."""
    acts = decision.create or decision.apply or decision.stop or decision.patch or decision.delete
    ends = "completionTime" in decision.status and "completionTime" not in raw["status"]
    return bool(acts) or ends


def _is_ending(error: ApiError) -> bool:
    return error.is_forbidden and "being terminated" in error.message
