"""One Lease, two operators: whatever stops, hangs or comes late, at most one of them may write."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.common.decision import Patch
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import Resource
from kubetune.kube.lease import DEADLINE_SECONDS, LEASE_SECONDS, Lease, LeaseLostError

Object = dict[str, Any]


class Server:
    """Keeps one Lease with its resourceVersion; ``refusal`` is what the next request gets."""

    def __init__(self) -> None:
        self.spec: Object | None = None
        self.version = 0
        self.refusal: ApiError | None = None

    def _may_fail(self) -> None:
        if self.refusal:
            refusal, self.refusal = self.refusal, None
            raise refusal

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self._may_fail()
        return None if self.spec is None else {"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec}

    async def create(self, obj: Object) -> Object:
        self._may_fail()
        if self.spec is not None:
            raise ApiError(409, "AlreadyExists", "it exists")
        return self._store(obj["spec"])

    async def patch(self, patch: Patch) -> Object:
        self._may_fail()
        if self.spec is None:
            raise ApiError(404, "NotFound", "it does not exist")
        if patch.body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "it has changed")
        return self._store(self.spec | patch.body["spec"])

    def _store(self, spec: Object) -> Object:
        self.spec, self.version = spec, self.version + 1
        return {"metadata": {"resourceVersion": str(self.version)}}


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(server: Server, clock: Clock, identity: str) -> Lease:
    return Lease(cast(Client, server), "ns", "kubetune", identity, clock)


async def test_the_first_makes_it_and_may_write(server: Server, clock: Clock) -> None:
    one, two = lease(server, clock, "one"), lease(server, clock, "two")
    with pytest.raises(ApiError, match="does not hold the Lease ns/kubetune"):
        one.check()
    assert await one.attempt()
    one.check()
    assert not await two.attempt()
    assert two.waits_for == "one holds it"
    assert server.spec is not None
    assert (server.spec["holderIdentity"], server.spec["leaseDurationSeconds"]) == ("one", LEASE_SECONDS)


@pytest.mark.law("L12", "F22")
async def test_it_may_write_until_the_deadline_and_nobody_else_before_the_end(server: Server, clock: Clock) -> None:
    one, two = lease(server, clock, "one"), lease(server, clock, "two")
    await one.attempt()
    await two.attempt()
    clock.now = DEADLINE_SECONDS
    assert not one.is_held
    assert one.seconds_left == LEASE_SECONDS - DEADLINE_SECONDS
    clock.now = LEASE_SECONDS - 0.1
    assert not await two.attempt()
    clock.now = LEASE_SECONDS
    assert await two.attempt()
    assert server.spec is not None
    assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("two", 1)


async def test_a_long_lease_of_another_release_is_respected(server: Server, clock: Clock) -> None:
    one, two = lease(server, clock, "one"), lease(server, clock, "two")
    await one.attempt()
    assert server.spec is not None
    server.spec["leaseDurationSeconds"] = 60
    assert not await two.attempt()
    clock.now = 59
    assert not await two.attempt()
    clock.now = 60
    assert await two.attempt()


async def test_given_back_it_is_free_at_once(server: Server, clock: Clock) -> None:
    one, two = lease(server, clock, "one"), lease(server, clock, "two")
    await one.attempt()
    await one.release()
    assert not one.is_held
    assert await two.attempt()
    await one.release()
    assert server.spec is not None
    assert server.spec["holderIdentity"] == "two", "one that is not held is not given back"


async def test_a_container_started_again_goes_on_for_its_pod(server: Server, clock: Clock) -> None:
    await lease(server, clock, "pod").attempt()
    assert await lease(server, clock, "pod").attempt()


async def test_an_answer_that_was_lost_is_no_loss(server: Server, clock: Clock) -> None:
    one = lease(server, clock, "one")
    await one.attempt()
    server.version += 1
    assert await one.attempt(), "the record is still ours, in a version we were not told of"


async def test_one_that_was_deleted_is_made_again(server: Server, clock: Clock) -> None:
    one = lease(server, clock, "one")
    await one.attempt()
    server.spec = None
    assert await one.attempt()
    assert one.is_held


@pytest.mark.law("L12", "F22")
async def test_taken_by_another_it_is_lost_before_its_time(server: Server, clock: Clock) -> None:
    one = lease(server, clock, "one")
    await one.attempt()
    assert server.spec is not None
    server._store(server.spec | {"holderIdentity": "two"})
    assert not await one.attempt()
    with pytest.raises(ApiError):
        one.check()


@pytest.mark.law("L12", "F22")
@pytest.mark.parametrize("error", [None, ApiError(503, "ServiceUnavailable", "later")])
async def test_keeping_ends_when_it_is_lost(
    server: Server, clock: Clock, error: ApiError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubetune.kube.lease.RENEW_SECONDS", 0.001)
    one = lease(server, clock, "one")
    await one.attempt()
    server.refusal = error
    keeping = asyncio.create_task(one.keep())
    await asyncio.sleep(0.05)
    assert not keeping.done(), "one refusal is no loss"
    assert server.version > 2
    clock.now += DEADLINE_SECONDS + 1
    with pytest.raises(LeaseLostError, match="ns/kubetune is lost"):
        await asyncio.wait_for(keeping, 5)


async def test_only_trouble_with_the_server_is_waited_for(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubetune.kube.lease.LOOK_SECONDS", 0.001)
    server.refusal = ApiError(0, "NoAnswer", "refused")
    await lease(server, clock, "one").acquire()
    server.refusal = ApiError(403, "Forbidden", "no right")
    with pytest.raises(ApiError, match="no right"):
        await lease(server, clock, "two").acquire()


Step = st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["attempt", "fail", "restart", "release", "sleep"]))


@pytest.mark.law("L12", "F22")
@given(st.lists(st.tuples(Step, st.floats(0.0, 12.0)), max_size=60))
def test_never_two(steps: list[tuple[tuple[str, str], float]]) -> None:
    """Any order of looks, failures, stops without a goodbye and pauses: at no moment may both write."""
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[tuple[str, str], float]]) -> None:
    server, clock = Server(), Clock()
    names = iter(range(1000))
    leases = {who: lease(server, clock, f"{who}-{next(names)}") for who in ("one", "two")}
    for (who, what), seconds in steps:
        if what == "restart":
            leases[who] = lease(server, clock, f"{who}-{next(names)}")
        elif what == "release":
            await leases[who].release()
        elif what in {"attempt", "fail"}:
            server.refusal = ApiError(500, "InternalError", "by chance") if what == "fail" else None
            try:
                await leases[who].attempt()
            except ApiError:
                server.refusal = None
        clock.now += seconds
        held = [one for one in leases.values() if one.is_held]
        assert len(held) <= 1
        for one in held:
            assert all(other.seconds_left == 0 for other in leases.values() if other is not one)
