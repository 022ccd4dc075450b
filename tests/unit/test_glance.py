"""Reads from the API server's watch cache: what is asked, and what happens when the cache is not that far."""

from __future__ import annotations

from typing import Any, cast

import pytest
from kubernetes.aio.client import ApiClient

from kubetune.kube.client import Client, Object
from kubetune.kube.errors import ApiError
from kubetune.kube.glance import Glance
from kubetune.kube.kinds import JOB, NODE, POD, Resource
from kubetune.kube.told import Told


class Recorder(Glance):
    """A glance whose requests are kept and answered here."""

    def __init__(self, told: Told, *failures: ApiError) -> None:
        super().__init__(Client(cast(ApiClient, None), told=told))
        self.asked: list[dict[str, str]] = []
        self.failures = list(failures)

    async def _call(self, verb: str, resource: Resource, path: str, **more: Any) -> Object:
        self.asked.append(dict(more.get("query") or {}))
        if self.failures:
            raise self.failures.pop(0)
        return {"items": [], "metadata": {"resourceVersion": "999"}} if verb == "list" else {"metadata": {}}


def told(**versions: int) -> Told:
    found = Told()
    for kind, version in versions.items():
        found.note(kind, {"metadata": {"resourceVersion": str(version)}})
    return found


@pytest.mark.law("L15")
async def test_a_read_is_never_older_than_what_was_told() -> None:
    glance = Recorder(told(Job=7, Pod=12))
    await glance.get(JOB, "ns", "demo")
    await glance.list(POD, "ns", labels={"a": "b"})
    assert glance.asked == [
        {"resourceVersion": "7"},
        {"resourceVersion": "12", "resourceVersionMatch": "NotOlderThan", "labelSelector": "a=b"},
    ]


@pytest.mark.parametrize(("resource", "known"), [(JOB, told(Pod=3)), (NODE, told(Node=3))])
async def test_what_nobody_was_told_of_is_read_live(resource: Resource, known: Told) -> None:
    glance = Recorder(known)
    await glance.get(resource, "ns", "demo")
    await glance.list(resource, "ns")
    assert glance.asked == [{}, {}]


@pytest.mark.parametrize("status", [410, 500, 504])
async def test_a_store_that_went_back_in_time_is_read_live_from_then_on(status: int) -> None:
    """A restored etcd counts from a lower version; its cache would be waited for at every look."""
    glance = Recorder(told(Job=7), ApiError(status, "Timeout", "Too large resource version: 7, current: 3"))
    await glance.get(JOB, "ns", "demo")
    await glance.get(JOB, "ns", "demo")
    assert glance.asked == [{"resourceVersion": "7"}, {}, {}]


async def test_what_is_not_there_is_none_and_other_failures_are_passed_on() -> None:
    glance = Recorder(told(Job=7), ApiError(404, "NotFound", "no"), ApiError(403, "Forbidden", "no"))
    assert await glance.get(JOB, "ns", "demo") is None
    with pytest.raises(ApiError, match="403"):
        await glance.get(JOB, "ns", "demo")


@pytest.mark.parametrize(
    ("answer", "newest"),
    [
        ({"metadata": {"resourceVersion": "8"}}, "8"),
        ({"metadata": {"resourceVersion": "6"}}, "7"),
        ({"items": [{"metadata": {"resourceVersion": "9"}}], "metadata": {"resourceVersion": "50"}}, "9"),
        ({"items": [], "metadata": {"resourceVersion": "50"}}, "7"),
        ({"metadata": {"resourceVersion": "abc"}}, "7"),
        ({"kind": "Status"}, "7"),
    ],
    ids=["newer", "older", "a list's items, not the list", "an empty list", "no number", "no object"],
)
def test_the_newest_is_remembered(answer: Object, newest: str) -> None:
    known = told(Job=7)
    known.read(JOB, answer)
    assert known.newest(JOB) == newest
    assert known.newest(POD) is None
