"""Who may start a training, who waits, and at what place in line."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.observed import Wait
from kubetune.finetunejob.queue.peers import Room, holders, read_peer
from kubetune.finetunejob.queue.places import Request, judge
from kubetune.finetunejob.queue.slots import Slots
from kubetune.kube.client import Client
from kubetune.kube.kinds import JOB, Resource
from kubetune.settings import Settings
from tests.support.objects import finetunejob
from tests.support.observed import job

Object = dict[str, Any]


def raw(name: str, created: int = 0, /, **status: Any) -> Object:
    """A FineTuneJob without a preflight; ``spec`` replaces members of its spec."""
    obj = finetunejob(name, "ns", **status.pop("spec", {}))
    obj["metadata"] |= {"uid": name, "creationTimestamp": f"2026-01-01T00:00:{created:02}Z"}
    return obj | ({"status": status} if status else {})


def running(*names: str) -> list[Object]:
    return [_job_of(name) for name in names]


def _job_of(name: str, **members: Any) -> Object:
    made = job(f"{name}-train", **members)
    made["metadata"]["ownerReferences"][0]["uid"] = name
    return made


def ask(obj: Object, peers: list[Object], jobs: list[Object], **limits: Any) -> Wait | None:
    others = tuple(read_peer(peer) for peer in peers if peer["metadata"]["uid"] != obj["metadata"]["uid"])
    estimate = limits.pop("estimate", None)
    return judge(Request(FineTuneJob.parse(obj), estimate), Room(others, holders(jobs)), Settings(**limits))


A, B, C = raw("a", 1), raw("b", 2), raw("c", 3)


@pytest.mark.parametrize(
    ("asks", "jobs", "limit", "position"),
    [
        (A, [], 1, None),
        (B, [], 1, 2),
        (C, [], 1, 3),
        (B, [], 2, None),
        (C, [], 2, 3),
        (B, ["a"], 1, 1),
        (C, ["a"], 1, 2),
        (C, ["a"], 2, 2),
        (B, ["a"], 2, None),
        (C, ["a", "b"], 3, None),
        (A, ["b", "c"], 2, 1),
        (C, [], 0, None),
    ],
)
def test_places_go_by_creation(asks: Object, jobs: list[str], limit: int, position: int | None) -> None:
    wait = ask(asks, [A, B, C], running(*jobs), max_running_per_namespace=limit)
    assert (wait.position if wait else None) == position
    if wait:
        assert f"at most {limit} trainings of namespace ns" in wait.message
        assert f"number {position} in line" in wait.message


def test_names_decide_between_jobs_of_one_second() -> None:
    first, second = raw("x"), raw("y")
    assert ask(first, [first, second], [], max_running_per_namespace=1) is None
    assert ask(second, [first, second], [], max_running_per_namespace=1)


ACCEPTED = {"type": "Accepted", "status": "True", "reason": "Accepted"}


@pytest.mark.parametrize(
    "peer",
    [
        raw("a", 1, completionTime="2026-01-01T00:00:00Z"),
        raw("a", 1, spec={"suspend": True}),
        raw("a", 1, conditions=[ACCEPTED | {"status": "False"}]),
        raw("a", 1, conditions=[ACCEPTED, {"type": "Scheduled", "status": "False", "reason": "BudgetExceeded"}]),
        raw("a", 1, spec={"preflight": {"fit": "Require"}}),
        raw("a", 1, spec={"queueName": "team-a"}),
        raw("a", 1) | {"metadata": raw("a", 1)["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["ended", "suspended", "refused", "over the budget", "not checked", "Kueue's", "deleted"],
)
def test_nobody_waits_for_one_that_does_not_come(peer: Object) -> None:
    assert ask(B, [peer, B], [], max_running_per_namespace=1) is None


def test_a_checked_one_is_waited_for() -> None:
    passed = [{"type": "Preflighted", "status": "True", "reason": "PreflightPassed"}]
    peer = raw("a", 1, spec={"preflight": {"fit": "Require"}}, conditions=passed)
    assert ask(B, [peer, B], [], max_running_per_namespace=1)


@pytest.mark.parametrize(
    ("made", "is_holding"),
    [
        (_job_of("a"), True),
        (_job_of("a", suspend=True), False),
        (_job_of("a", suspend=True) | {"status": {"terminating": 1}}, True),
        (_job_of("a", suspend=True) | {"status": {"active": 1}}, True),
        (_job_of("a", final="Complete"), False),
        (_job_of("a", final="Failed"), False),
    ],
    ids=["active", "suspended", "stopping", "not stopped yet", "complete", "failed"],
)
def test_who_holds_a_place(made: Object, is_holding: bool) -> None:
    assert holders([made]) == ({"a"} if is_holding else set())


def test_kueue_holds_its_own() -> None:
    queued = raw("b", 2, spec={"queueName": "team-a"})
    assert ask(queued, [A, queued], running("a"), max_running_per_namespace=1) is None


def spent(name: str, amount: float, estimate: float | None = None, **status: Any) -> Object:
    figures = {"preflight": {"cost": {"estimate": estimate}}} if estimate is not None else {}
    return raw(name, cost={"amount": amount}, **figures, **status)


ENDED: Object = {"completionTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("others", "jobs", "estimate", "is_held"),
    [
        ([], [], None, False),
        ([], [], 10.0, False),
        ([], [], 10.01, True),
        ([spent("a", 6.0, **ENDED)], [], 4.0, False),
        ([spent("a", 6.0, **ENDED)], [], 4.01, True),
        ([spent("a", 9.99, **ENDED)], [], None, False),
        ([spent("a", 10.0, **ENDED)], [], None, True),
        ([spent("a", 1.0, 8.0)], ["a"], 3.0, True),
        ([spent("a", 1.0, 8.0)], ["a"], 2.0, False),
        ([spent("a", 1.0, 8.0)], [], 9.0, False),
        ([spent("a", 9.0, 8.0)], ["a"], 1.0, False),
    ],
)
def test_a_budget(others: list[Object], jobs: list[str], estimate: float | None, is_held: bool) -> None:
    wait = ask(C, [*others, C], running(*jobs), budgets={"ns": 10.0}, estimate=estimate, currency="EUR")
    assert bool(wait) is is_held
    if wait:
        assert (wait.reason, wait.position) == ("BudgetExceeded", None)
        assert "The budget of namespace ns is 10.00 EUR" in wait.message
        assert "cost.budgets.ns" in wait.message


def test_what_it_has_cost_itself_is_part_of_its_estimate() -> None:
    resumed = raw("c", cost={"amount": 4.0})
    assert ask(resumed, [resumed], [], budgets={"ns": 9.0}, estimate=9.0) is None
    assert ask(resumed, [resumed], [], budgets={"ns": 8.9}, estimate=9.0)


def test_another_namespaces_budget_does_not_matter() -> None:
    assert ask(C, [spent("a", 99.0), C], [], budgets={"other": 1.0}) is None


class World:
    """Lists FineTuneJobs and Jobs, slowly, as an API server does while others write."""

    def __init__(self, count: int) -> None:
        self.jobs: list[Object] = []
        self.customs = [raw(f"j{index:02}") for index in range(count)]
        self.lists = 0

    async def list(self, resource: Resource, namespace: str, **_: Any) -> list[Object]:
        self.lists += 1
        found = list(self.jobs if resource == JOB else self.customs)
        await asyncio.sleep(0)
        return found

    async def start(self, obj: Object) -> None:
        """What a pass does once it is let in: some time later a Job is there."""
        for _ in range(3):
            await asyncio.sleep(0)
        self.jobs.append(_job_of(obj["metadata"]["name"]))

    def end(self, name: str) -> None:
        self.jobs = [one for one in self.jobs if one["metadata"]["name"] != f"{name}-train"]
        for obj in self.customs:
            if obj["metadata"]["name"] == name:
                obj["status"] = dict(ENDED)


async def enter(world: World, slots: Slots, obj: Object) -> Wait | None:
    wait = await slots.wait(cast(Client, world), Request(FineTuneJob.parse(obj)))
    if wait is None:
        await world.start(obj)
    return wait


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_sixteen_passes_at_once_let_in_no_more_than_fit(limit: int) -> None:
    world, slots = World(40), Slots(Settings(max_running_per_namespace=limit))
    waits = await asyncio.gather(*(enter(world, slots, obj) for obj in reversed(world.customs)))
    assert len(world.jobs) == limit
    assert sum(wait is None for wait in waits) == limit
    assert sorted(owner for one in world.jobs for owner in holders([one])) == [f"j{index:02}" for index in range(limit)]
    assert world.lists < 10, "those that wait share a list"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_no_order_of_passes_and_ends_lets_in_too_many(seed: int, limit: int) -> None:
    random = Random(seed)

    async def play() -> None:
        world, slots = World(12), Slots(Settings(max_running_per_namespace=limit))
        while any("status" not in obj for obj in world.customs):
            some = random.sample(world.customs, 8)
            open_ones = [
                obj for obj in some if "status" not in obj and obj["metadata"]["uid"] not in holders(world.jobs)
            ]
            await asyncio.gather(*(enter(world, slots, obj) for obj in open_ones))
            assert len(world.jobs) <= limit
            for one in random.sample(world.jobs, random.randint(0, len(world.jobs))):
                world.end(one["metadata"]["name"].removesuffix("-train"))

    asyncio.run(play())


async def test_a_place_given_and_not_taken_is_kept_for_it() -> None:
    """Its pass failed before the Job was there; it comes back, and nobody has taken its place."""
    world, slots = World(2), Slots(Settings(max_running_per_namespace=1))
    first, second = (Request(FineTuneJob.parse(obj)) for obj in world.customs)
    assert await slots.wait(cast(Client, world), first) is None
    assert await slots.wait(cast(Client, world), second)
    assert await slots.wait(cast(Client, world), first) is None


async def test_a_failed_list_is_not_taken_for_an_empty_one() -> None:
    class Broken(World):
        async def list(self, resource: Resource, namespace: str, **_: Any) -> list[Object]:
            raise OSError("no answer")

    world, slots = World(2), Slots(Settings(max_running_per_namespace=1))
    assert await enter(world, slots, world.customs[0]) is None
    with pytest.raises(OSError, match="no answer"):
        await enter(Broken(2), slots, world.customs[1])
    assert await enter(world, slots, world.customs[1])


@pytest.mark.parametrize(
    ("limits", "spec", "expected"),
    [
        ({}, {}, False),
        ({"max_running_per_namespace": 1}, {}, True),
        ({"max_running_per_namespace": 1}, {"queueName": "q"}, False),
        ({"budgets": {"ns": 1.0}}, {"queueName": "q"}, True),
        ({"budgets": {"other": 1.0}}, {}, False),
    ],
)
def test_it_costs_nothing_where_nothing_is_limited(limits: Object, spec: Object, expected: bool) -> None:
    assert Slots(Settings(**limits)).limits(FineTuneJob.parse(raw("a", spec=spec))) is expected
