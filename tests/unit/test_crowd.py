"""Who holds the CPU and the main memory that a pod waits for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import NODE, POD, Resource
from kubetune.kube.lately import LATELY_SECONDS, Lately
from kubetune.runs.read import JobObservation, read_run
from kubetune.workload.crowd import explain_crowd, is_crowd
from kubetune.workload.reads import read_placement
from tests.support.nodes import gpu_node
from tests.support.observed import job

Object = dict[str, Any]
LONG_AGO = "2026-01-01T00:00:00Z"


def pod(
    name: str, cpu: str, memory: str, *, kind: str = "finetunejob", component: str = "trainer", **more: Any
) -> Object:
    labels = {
        "app.kubernetes.io/managed-by": "kubetune",
        "app.kubernetes.io/component": component,
        f"kubetune.io/{kind}": name,
    }
    requests = {"cpu": cpu, "memory": memory}
    return {
        "metadata": {"name": f"{name}-x", "namespace": "ns", "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"resources": {"requests": requests}}]} | more.pop("spec", {}),
        "status": {"phase": "Running"} | more,
    }


def test_disk_is_told_like_memory() -> None:
    wants: Object = {"containers": [{"resources": {"requests": {"ephemeral-storage": "30720Mi"}}}]}
    fact = explain_crowd(wants, [], "0/1 nodes are available: 1 Insufficient ephemeral-storage.")
    assert fact.message.startswith("Waits for 30 GiB of disk, which no node has free now.")


WANTS: Object = {"containers": [{"resources": {"requests": {"cpu": "1", "memory": "4Gi"}}}]}


@pytest.mark.walk("C10")
def test_it_is_waited_for_and_whoever_holds_it_is_named() -> None:
    pods = [
        pod("small", "250m", "1Gi"),
        pod("checks", "900m", "1Gi", component="preflight"),
        pod("large", "1500m", "1Gi", kind="evaluation"),
        pod("done", "9", "1Gi", phase="Succeeded"),
        pod("unplaced", "9", "1Gi", spec={"nodeName": ""}),
    ]
    fact = explain_crowd(WANTS, pods, "0/1 nodes are available: 1 Insufficient cpu.")
    assert fact.reason == "Unschedulable"
    assert fact.message == (
        "Waits for 1 CPU, which no node has free now. Of KubeTune's pods these hold most: Evaluation ns/large "
        "(1.5 CPUs), FineTuneJob ns/small (0.25 CPUs). It starts by itself."
    )


@pytest.mark.walk("C10")
def test_others_may_hold_it() -> None:
    fact = explain_crowd(WANTS, [], "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")
    assert "Waits for 1 CPU and 4 GiB of main memory" in fact.message
    assert "None of KubeTune's own pods holds it." in fact.message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1 Insufficient cpu.", True),
        ("1 Insufficient memory", True),
        ("1 Insufficient nvidia.com/gpu.", False),
        ("", False),
    ],
)
def test_only_cpu_and_memory_are_its_business(said: str, expected: bool) -> None:
    assert is_crowd(said) is expected


def unplaced(created: str, message: str = "0/1 nodes are available: 1 Insufficient cpu.") -> Object:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    metadata = {"name": "p1", "namespace": "ns", "creationTimestamp": created}
    return {"metadata": metadata, "spec": dict(WANTS), "status": {"phase": "Pending", "conditions": [said]}}


class Server:
    """Lists nothing but a node, and counts."""

    def __init__(self, *, sees_all: bool = True) -> None:
        self.sees_all = sees_all
        self.asked: list[tuple[str, str | None]] = []

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> list[Object]:
        self.asked.append((resource.plural, namespace))
        await asyncio.sleep(0)
        if namespace is None and resource == POD and not self.sees_all:
            raise ApiError(403, "Forbidden", "no")
        return [gpu_node("n1", count=0)] if resource == NODE else []


@pytest.mark.walk("C10")
@pytest.mark.parametrize(
    ("sees_all", "asked"),
    [(True, [("nodes", None), ("pods", None)]), (False, [("nodes", None), ("pods", None), ("pods", "ns")])],
)
async def test_a_thousand_that_wait_look_once(sees_all: bool, asked: list[Any]) -> None:
    server = Server(sees_all=sees_all)
    found = await asyncio.gather(*(read_placement(cast(Client, server), unplaced(LONG_AGO)) for _ in range(1000)))
    assert {fact.reason for fact in found if fact} == {"Unschedulable"}
    assert None not in found
    assert server.asked == asked


async def test_what_was_read_before_a_pod_was_made_says_nothing_of_it() -> None:
    moment, reads = [100.0], []

    async def read() -> int:
        reads.append(moment[0])
        return len(reads)

    kept = Lately(lambda: moment[0])
    assert [await kept.get("a", read, since=0.0) for _ in range(3)] == [1, 1, 1]
    assert await kept.get("b", read, since=0.0) == 2
    moment[0] = 104.0
    assert await kept.get("a", read, since=0.0) == 1
    assert await kept.get("a", read, since=100.0) == 3, "the second in which it was made may have been before"
    assert await kept.get("a", read, since=101.0) == 3
    moment[0] = 104.0 + LATELY_SECONDS
    assert await kept.get("a", read, since=101.0) == 4


async def test_a_read_that_fails_is_not_kept() -> None:
    async def read() -> int:
        raise ApiError(500, "No", "no")

    async def answer() -> int:
        return 1

    kept = Lately(lambda: 100.0)
    with pytest.raises(ApiError):
        await kept.get("a", read, since=0.0)
    assert await kept.get("a", answer, since=0.0) == 1


@pytest.mark.parametrize(
    ("message", "reason", "seconds"),
    [
        ("1 Insufficient cpu.", "Unschedulable", 60.0),
        ("1 Insufficient memory.", "Unschedulable", 60.0),
        ("1 Insufficient nvidia.com/gpu.", "Unschedulable", 10.0),
        ("1 Insufficient memory.", "NoSuitableNode", 10.0),
        ("1 Insufficient cpu.", "NoNodeWithGPU", 10.0),
    ],
)
def test_who_waits_in_a_crowd_looks_again_seldom(message: str, reason: str, seconds: float) -> None:
    """But for one that no node can take: it gives its place back to whoever wants it."""
    placement = Fact(ConditionStatus.FALSE, reason, "Waits.")
    run = read_run(JobObservation(job(), (unplaced(LONG_AGO, message),), placement=placement), main="train")
    assert run.recheck_after == seconds
