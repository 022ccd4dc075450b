"""A wait that ends by time or by call, and always when it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from kubetune.runtime.alarm import Alarm


async def test_it_comes_at_its_time_or_when_it_is_called() -> None:
    alarm = Alarm()
    await asyncio.wait_for(alarm.wait(0.0), 5)
    waiting = asyncio.create_task(alarm.wait(None))
    await asyncio.sleep(0)
    assert not waiting.done()
    alarm.ring()
    await asyncio.wait_for(waiting, 5)
    alarm.ring()
    await asyncio.wait_for(alarm.wait(None), 5)


@pytest.mark.parametrize("seconds", [0.0, None])
async def test_one_that_rings_in_the_moment_of_its_cancellation_is_cancelled(seconds: float | None) -> None:
    """An operator that is asked to stop would otherwise never end."""
    alarm = Alarm()

    async def for_ever() -> None:
        while True:
            await alarm.wait(seconds)

    waiting = asyncio.create_task(for_ever())
    await asyncio.sleep(0)
    alarm.ring()
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=5)
    assert waiting.cancelled()


async def test_it_makes_no_task() -> None:
    waiting = asyncio.create_task(Alarm().wait(10))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {waiting, asyncio.current_task()}
    waiting.cancel()
