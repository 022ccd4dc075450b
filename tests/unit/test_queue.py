"""The work queue: de-duplication, one worker per key, delays and back-off."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.runtime.queue import LIMIT_SECONDS, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock, spread=lambda: 1.0)


async def test_a_key_is_in_line_once(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert queue.depth == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert queue.depth == 0


async def test_a_key_under_work_runs_once_more_and_never_twice_at_a_time(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b", "a is still being worked on"
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    queue.done("b")
    assert (queue.depth, queue.running) == (0, 0)


async def test_later_comes_when_due(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 5)
    timers = asyncio.create_task(queue.run_timers())
    await asyncio.sleep(0)
    assert queue.depth == 0
    clock.now += 5
    queue.add_after("b", 0.001)
    await asyncio.sleep(0.01)
    assert queue.depth >= 1
    assert await queue.get() == "a"
    timers.cancel()


async def test_the_earlier_plan_wins(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 50)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    assert queue.planned == 1
    clock.now += 6
    timers = asyncio.create_task(queue.run_timers())
    await asyncio.sleep(0.01)
    assert (queue.depth, queue.planned) == (1, 0)
    clock.now += 100
    await queue.get()
    queue.add_after("b", 0.001)
    await asyncio.sleep(0.01)
    assert queue.depth <= 1, "plans that were overtaken are not carried out"
    timers.cancel()


async def test_an_event_overtakes_a_plan(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 50)
    queue.add("a")
    assert (queue.depth, queue.planned) == (1, 0)


@given(st.integers(1, 40))
def test_back_off_doubles_up_to_the_limit(failures: int) -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, spread=lambda: 1.0)
    waits = [queue.add_failed("a") for _ in range(failures)]
    assert waits == [min(LIMIT_SECONDS, 2.0**n) for n in range(failures)]
    queue.forget("a")
    assert queue.add_failed("a") == 1.0


async def test_the_servers_wish_is_the_least_wait(queue: WorkQueue[str]) -> None:
    assert queue.add_failed("a", at_least=30) == 30


async def test_close_lets_workers_end(queue: WorkQueue[str]) -> None:
    queue.add("a")
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close(3)
    queue.add("late")
    results = await asyncio.gather(*waiting)
    assert sorted(map(str, results)) == ["None", "None", "a"]


async def test_ages(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    clock.now += 3
    assert queue.oldest_age == 3
    await queue.get()
    clock.now += 4
    assert queue.longest_running == ("a", 4)
    assert queue.oldest_age == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abc"))))
def test_no_key_is_ever_lost_or_doubled(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        queue: WorkQueue[str] = WorkQueue(lambda: 0.0)
        owed: set[str] = set()
        running: set[str] = set()
        for action, key in steps:
            if action == "add":
                queue.add(key)
                owed.add(key)
            elif action == "get" and owed - running:
                got = await asyncio.wait_for(queue.get(), 1)
                assert got is not None
                assert got in owed
                assert got not in running
                owed.discard(got)
                running.add(got)
            elif action == "done" and key in running:
                queue.done(key)
                running.discard(key)
        assert queue.depth == len(owed)

    asyncio.run(play())
