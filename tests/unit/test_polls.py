"""Pods are asked, heard and written of: who, when and how often."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.runtime.controller import Key
from kubetune.runtime.listener import Listener
from kubetune.runtime.polls import AT_ONCE, IDLE_SECONDS, SILENT_TIMES, SLOWEST, WRITES_PER_SECOND, Polls
from kubetune.runtime.queue import WorkQueue

SECONDS = 2.0


def key(index: int = 0) -> Key:
    return Key("FineTuneJob", "ns", f"job-{index}")


class Pods:
    """Pods that say their step and phase, as ``step/phase``; those without an entry are silent."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.under_way = 0
        self.most = 0
        self.gate: asyncio.Event | None = None

    async def progress(self, pod_ip: str) -> str | None:
        self.asked[pod_ip] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.gate is not None:
            await self.gate.wait()
        self.under_way -= 1
        return self.says.get(pod_ip)


class Bench:
    """Polls on a clock of the test's own, with a kind that has a status ``(step, phase)`` on record."""

    def __init__(self, interval: float = 3.0) -> None:
        self.now = 1000.0
        self.pods = Pods()
        self.queue: WorkQueue[Key] = WorkQueue(lambda: self.now)
        self.polls = Polls(self.queue, self.pods, SECONDS, clock=lambda: self.now, spread=lambda: 1.0)
        self.told: dict[Key, tuple[int, str]] = {}
        self.kind: Listener[tuple[int, str], tuple[int, str]] = Listener(
            self.polls, interval, read=_read, is_due=_is_due, tell=self.told.__setitem__
        )

    async def step(self, seconds: float = 0.0) -> None:
        """Time passes; what is due happens."""
        self.now += seconds
        self.polls._step()
        await _settle()

    async def run_for(self, seconds: float, passes: Callable[[Key], Awaitable[None]]) -> None:
        """The loop, with a worker that does ``passes`` at once."""
        end = self.now + seconds
        while self.now < end:
            wait = self.polls._step()
            await _settle()
            for one in self.in_line():
                await passes(one)
            self.now += min(wait, 0.05) or 0.001

    def in_line(self) -> list[Key]:
        """Takes what is in line."""
        found = list(self.queue._dirty)
        self.queue._dirty.clear()
        return found


def _read(text: str) -> tuple[int, str] | None:
    step, _, phase = text.partition("/")
    return (int(step), phase) if step.isdigit() else None


def _is_due(stored: tuple[int, str], said: tuple[int, str], interval: float) -> bool:
    """A step is a second of the trainer's clock."""
    return said[1] != stored[1] or said[0] - stored[0] >= interval


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_followed_pod_is_asked_at_once_and_then_every_two_seconds(bench: Bench) -> None:
    bench.pods.says["a"] = "1/training"
    assert await bench.kind.listen(key(), "a") is None, "nothing is known yet, and no pass waits for a pod"
    await bench.step()
    assert bench.pods.asked["a"] == 1
    await bench.step(1.9)
    assert bench.pods.asked["a"] == 1
    await bench.step(0.1)
    assert bench.pods.asked["a"] == 2
    assert bench.told[key()] == (1, "training"), "metrics are told of every answer"


@pytest.mark.law("L14")
async def test_metrics_move_while_nothing_is_in_line(bench: Bench) -> None:
    await bench.kind.listen(key(), "a")
    bench.kind.record(key(), (0, "training"))
    for step in range(3):
        bench.pods.says["a"] = f"{step}/training"
        await bench.step(SECONDS)
        assert bench.told[key()] == (step, "training")
    assert bench.in_line() == []


async def test_what_decides_is_in_line_at_once_and_given_to_the_pass(bench: Bench) -> None:
    await bench.kind.listen(key(), "a")
    bench.kind.record(key(), (5, "training"))
    bench.pods.says["a"] = "6/saving"
    await bench.step()
    assert bench.in_line() == [key()]
    assert await bench.kind.listen(key(), "a") == (6, "saving")
    assert await bench.kind.listen(key(), "a") is None, "given once"
    bench.kind.record(key(), (6, "saving"))
    await bench.step(SECONDS)
    assert bench.in_line() == []


async def test_an_answer_while_the_pass_writes_does_not_bring_another_pass(bench: Bench) -> None:
    await bench.kind.listen(key(), "a")
    bench.kind.record(key(), (5, "training"))
    bench.pods.says["a"] = "6/saving"
    await bench.step()
    assert bench.in_line() == [key()]
    assert await bench.kind.listen(key(), "a") == (6, "saving")
    bench.pods.says["a"] = "7/saving"
    await bench.step(SECONDS)
    assert bench.in_line() == [], "its status is being written"
    bench.kind.record(key(), (6, "saving"))
    assert bench.in_line() == []
    bench.pods.says["a"] = "9/saving"
    await bench.step(SECONDS)
    await bench.step()
    assert bench.in_line() == [key()], "three seconds later"


async def test_nothing_is_compared_before_a_status_is_on_record(bench: Bench) -> None:
    bench.pods.says["a"] = "6/saving"
    await bench.kind.listen(key(), "a")
    await bench.step()
    assert bench.in_line() == []
    bench.kind.record(key(), (5, "training"))
    assert bench.in_line() == [key()], "the answer came before the pass had ended"


async def test_a_pass_for_another_reason_writes_no_progress(bench: Bench) -> None:
    bench.pods.says["a"] = "9/training"
    await bench.kind.listen(key(), "a")
    await bench.step()
    assert await bench.kind.listen(key(), "a") is None


async def test_an_answer_that_its_pass_did_not_write_makes_no_circle(bench: Bench) -> None:
    bench.pods.says["a"] = "6/saving"
    await bench.kind.listen(key(), "a")
    await bench.step()
    bench.kind.record(key(), (5, "training"))
    assert bench.in_line() == [key()]
    await bench.kind.listen(key(), "a")
    bench.kind.record(key(), (5, "training"))
    assert bench.in_line() == [], "the same answer is not given twice"
    await bench.step(SECONDS)
    assert bench.in_line() == [key()], "the next one is"


async def test_what_is_decided_by_it_asks_at_once(bench: Bench) -> None:
    bench.pods.says["a"] = "7/training"
    assert await bench.kind.listen(key(), "a", at_once=True) == (7, "training")
    del bench.pods.says["a"]
    assert await bench.kind.listen(key(), "a", at_once=True) == (7, "training"), "the last that is known"


async def test_another_pod_is_another_talk(bench: Bench) -> None:
    bench.pods.says |= {"a": "7/training", "b": "1/loading"}
    await bench.kind.listen(key(), "a", at_once=True)
    assert await bench.kind.listen(key(), "b") is None
    await bench.step()
    assert bench.told[key()] == (1, "loading")
    await bench.step(SECONDS)
    assert (bench.pods.asked["a"], bench.polls.followed) == (1, 1)


async def test_an_answer_that_comes_after_its_pod_was_left_is_not_heard(bench: Bench) -> None:
    bench.pods.says["a"] = "7/training"
    bench.pods.gate = asyncio.Event()
    await bench.kind.listen(key(), "a")
    bench.polls._step()
    await _settle()
    bench.kind.leave(key())
    bench.pods.gate.set()
    await _settle()
    assert (bench.told, bench.polls.followed, bench.in_line()) == ({}, 0, [])
    await bench.step(SECONDS)
    assert bench.pods.asked["a"] == 1


async def test_a_pod_that_falls_silent_is_looked_at_now_and_then_and_asked_less_often(bench: Bench) -> None:
    await bench.kind.listen(key(), "gone")
    looks: list[int] = []
    while len(looks) < 3:
        await bench.step(0.5)
        looks += [bench.pods.asked["gone"] for _ in bench.in_line()]
    assert looks == [SILENT_TIMES, 2 * SILENT_TIMES, 4 * SILENT_TIMES]
    asked = bench.pods.asked["gone"]
    for _ in range(20):
        await bench.step(SECONDS)
    assert bench.pods.asked["gone"] - asked == pytest.approx(20 / SLOWEST, abs=1)


@pytest.mark.parametrize("text", ["nonsense", "{", ""])
async def test_what_cannot_be_read_is_no_answer_and_stops_nobody(bench: Bench, text: str) -> None:
    bench.pods.says |= {"a": text, "b": "4/training"}
    await bench.kind.listen(key(0), "a")
    await bench.kind.listen(key(1), "b")
    await bench.step()
    assert bench.told == {key(1): (4, "training")}


@pytest.mark.law("L8")
async def test_a_kind_that_stumbles_over_an_answer_goes_on_hearing(bench: Bench) -> None:
    def stumble(*_: object) -> bool:
        raise OverflowError("1e300 is no time")

    await bench.kind.listen(key(), "a")
    bench.kind.record(key(), (0, "training"))
    bench.kind.is_due = stumble
    bench.pods.says["a"] = "4/training"
    for _ in range(3):
        await bench.step(SECONDS)
    assert bench.pods.asked["a"] == 3


async def test_not_all_pods_are_asked_at_the_same_moment(bench: Bench) -> None:
    bench.pods.gate = asyncio.Event()
    for index in range(3 * AT_ONCE):
        await bench.kind.listen(key(index), str(index))
    await bench.step()
    assert bench.pods.most == AT_ONCE
    bench.pods.gate.set()
    for _ in range(20):
        await _settle()
    assert len(bench.pods.asked) == 3 * AT_ONCE


@settings(deadline=None, max_examples=15)
@given(count=st.integers(1, 120), decisive=st.integers(0, 5))
@pytest.mark.law("L14")
def test_writes_share_a_budget_and_take_turns(count: int, decisive: int) -> None:
    """However many run, progress is written ten times a second and everybody's in its turn; a phase does not wait."""

    async def play() -> None:
        bench, written, at_once = Bench(), {key(index): [1000.0] for index in range(count)}, 0
        span = 4 * max(3.0, count / WRITES_PER_SECOND) + 8

        async def look(one: Key) -> None:
            nonlocal at_once
            said = await bench.kind.listen(one, one.name)
            stored = stored_of.get(one, (0, "training"))
            if said is None or not _is_due(stored, said, bench.kind.interval):
                bench.kind.record(one, stored)
                return
            if said[1] != stored[1]:
                at_once += 1
            else:
                written[one].append(bench.now)
            stored_of[one] = said
            bench.kind.record(one, said)

        stored_of: dict[Key, tuple[int, str]] = {}
        for one in written:
            await look(one)
        changed = [key(index) for index in range(min(decisive, count))]
        for second in range(int(span)):
            for one in written:
                phase = "saving" if one in changed and second >= 5 else "training"
                bench.pods.says[one.name] = f"{second}/{phase}"
            await bench.run_for(1.0, look)
        moments = [moment for times in written.values() for moment in times[1:]]
        assert len(moments) <= WRITES_PER_SECOND * span + 1
        fair = max(3.0, count / WRITES_PER_SECOND)
        for one, times in written.items():
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert all(gap >= 3.0 - 1e-6 for gap in gaps[1:]), "one per object and three seconds"
            if one not in changed:
                assert max(gaps) <= 1.5 * fair + 2 * SECONDS + 2, "nobody is forgotten"
        assert at_once == len(changed)

    asyncio.run(play())


async def test_the_loop_shows_that_it_is_alive(bench: Bench) -> None:
    assert bench.polls.due == float("inf"), "not begun"
    running = asyncio.create_task(bench.polls.run())
    await _settle()
    assert bench.polls.due == bench.now + IDLE_SECONDS
    await bench.kind.listen(key(), "a")
    await _settle()
    assert bench.pods.asked["a"] == 1, "whoever is followed wakes the loop"
    running.cancel()
    await asyncio.wait([running])
    assert not bench.polls._asking


async def test_the_plan_of_a_pod_that_was_left_is_dropped(bench: Bench) -> None:
    for _ in range(3):
        await bench.kind.listen(key(), "a")
        bench.kind.leave(key())
    await bench.step()
    assert (bench.pods.asked["a"], bench.polls._heap) == (0, [])
