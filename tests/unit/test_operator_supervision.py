"""Parts that should run for ever: one that ends or hangs is noticed, whatever it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from kubetune.kube.client import Client
from kubetune.kube.kinds import FINETUNEJOB
from kubetune.main import HelperError, supervise
from kubetune.runtime.controller import Key
from kubetune.runtime.health import LAG_LIMIT, Health
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.resync import Resync
from kubetune.runtime.seen import Seen


class Lister:
    """Stands in for the client: fails in the ways given, then lists nothing for ever."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.listed = 0

    async def pages(self, *_: Any) -> AsyncIterator[list[dict[str, Any]]]:
        if self.failures:
            raise self.failures.pop(0)
        self.listed += 1
        yield []


def resync(lister: Lister) -> Resync:
    metrics = Metrics([FINETUNEJOB.kind])
    queue: WorkQueue[Key] = WorkQueue(time.monotonic)
    return Resync(cast(Client, lister), queue, Seen(), metrics.inventory)


@pytest.mark.law("L10", "F9")
@pytest.mark.parametrize("failure", [ValueError("no JSON"), KeyError("metadata"), OSError("gone")])
async def test_a_listing_that_fails_in_any_way_is_tried_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubetune.runtime.resync.RETRY_SECONDS", 0.0)
    lister = Lister(failure, failure)
    looking = resync(lister)
    task = asyncio.create_task(looking.run((FINETUNEJOB,), (), 3600))
    await asyncio.wait_for(looking.done_once.wait(), 10)
    assert lister.listed == 1
    task.cancel()


@pytest.mark.law("F27")
async def test_a_listing_brings_back_what_is_gone_and_nobody_told() -> None:
    """A watch that was broken and listed anew tells of no deletion in between."""
    gone, owner = Key("FineTuneJob", "ns", "gone"), Key("FineTuneJob", "ns", "owner")
    looking = resync(Lister())
    looking._seen.keys.add(gone)
    looking._seen.owners.note("child", owner)
    await looking._once((FINETUNEJOB,), ())
    assert set(looking._queue._dirty) == {gone, owner}


async def test_a_listing_that_breaks_off_calls_nothing_gone() -> None:
    looking = resync(Lister(OSError("gone")))
    looking._seen.keys.add(Key("FineTuneJob", "ns", "demo"))
    with pytest.raises(OSError, match="gone"):
        await looking._once((FINETUNEJOB,), ())
    assert looking._queue.depth == 0


@pytest.mark.law("L10", "F9")
async def test_a_helper_that_hangs_shows_in_the_health() -> None:
    looking = resync(Lister())
    queue: WorkQueue[Key] = WorkQueue(time.monotonic)
    polls = Polls(queue, Poller(), 2.0)
    health = Health(queue, looking, polls, Metrics([FINETUNEJOB.kind]))
    assert health.problem() is None, "not begun"
    looking.due = time.monotonic() + 60
    assert health.problem() is None
    looking.due = time.monotonic() - LAG_LIMIT - 1
    assert "periodic look" in (health.problem() or "")
    looking.due = float("inf")
    polls.due = time.monotonic() - LAG_LIMIT - 1
    assert "asking of pods" in (health.problem() or "")


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise RuntimeError("by accident")


async def ends() -> None:
    return None


@pytest.mark.law("L10", "F9")
@pytest.mark.parametrize(("part", "says"), [(fails, "by accident"), (ends, "resync has ended")])
async def test_a_helper_that_ends_ends_the_operator(part: Any, says: str) -> None:
    cancelled = asyncio.Event()

    async def watches() -> None:
        try:
            await for_ever()
        finally:
            cancelled.set()

    healthy = asyncio.create_task(for_ever(), name="timers")
    with pytest.raises(HelperError, match=says):
        await supervise(watches(), [healthy, asyncio.create_task(part(), name="resync")])
    assert cancelled.is_set()
    healthy.cancel()


@pytest.mark.law("L10")
async def test_the_end_of_the_watches_is_passed_on() -> None:
    healthy = asyncio.create_task(for_ever())
    await supervise(ends(), [healthy])
    with pytest.raises(RuntimeError, match="by accident"):
        await supervise(fails(), [healthy])
    assert not healthy.done()
    healthy.cancel()
