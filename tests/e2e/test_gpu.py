"""GPUs through the kubelet's device plugin socket: three jobs share two cards, one at a time on each.

The hardware is a double (tests/support/device_plugin.py); registering, scheduling, allocating and releasing are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.kube import Kube, Object, is_true
from tests.support import fake_gpu
from tests.support.device_plugin import DevicePlugin
from tests.support.points import Record

from .conftest import Installation
from .resources import fine_tune_job
from .trainings import SECONDS, pods

GPU = "nvidia.com/gpu"
CARDS = ("card-0", "card-1")
JOBS = ("first", "second", "third")
STEPS = 40


@pytest.fixture(scope="module")
def cards(installation: Installation, kube: Kube) -> Iterator[DevicePlugin]:
    """Two cards on the node."""
    local = installation.environment.local
    if local is None:
        pytest.skip("the device plugin's double registers with the kubelet of a local cluster only")
    (folder,) = map(Path, fake_gpu.__path__)
    envs = {"PYTHONPATH": f"{folder}:/opt/kubetune"}
    root = Path(f"/proc/{local.pid('kubelet')}/root")
    with DevicePlugin(root, GPU, CARDS, envs, folder) as plugin:
        kube.wait("the node offers two GPUs", lambda: offered(kube) == len(CARDS), SECONDS)
        yield plugin
    # An allocatable of 0 is what a node without cards says.
    kube.wait("the node offers none any more", lambda: offered(kube) == 0, SECONDS)


def offered(kube: Kube) -> int:
    """GPUs that pods can get on the node."""
    return sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in kube.list(None, "nodes"))


def times(pod: Object) -> tuple[str, str]:
    """From when to when the pod's container ran."""
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended["startedAt"], ended["finishedAt"]


def test_three_jobs_share_two_cards(
    kube: Kube,
    namespace: str,
    installation: Installation,
    cards: DevicePlugin,
    record_property: Record,
) -> None:
    before = len(cards.allocated)
    resources = {"gpu": 1, "cpu": "100m", "memory": "2Gi"}
    kube.apply(namespace, [fine_tune_job(name, installation.prefix, STEPS, resources=resources) for name in JOBS])

    def held_back() -> Object | None:
        for name in JOBS:
            found = kube.get(namespace, "finetunejob", name) or {}
            conditions: list[Object] = found.get("status", {}).get("conditions", [])
            for condition in conditions:
                if condition["type"] == "Scheduled" and condition["reason"] == "Unschedulable":
                    return condition
        return None

    waiting = kube.wait("the third waits for a card", held_back, SECONDS, every=0.5)
    assert GPU in waiting["message"]
    holders = [name for name in JOBS if f"FineTuneJob {namespace}/{name} (1)" in waiting["message"]]
    assert len(holders) == len(CARDS), waiting["message"]

    def done() -> bool:
        found = [kube.get(namespace, "finetunejob", name) for name in JOBS]
        assert all((job or {}).get("status", {}).get("phase") != "Failed" for job in found), found
        return all(is_true(job, "Succeeded") for job in found)

    kube.wait("all three succeeded", done, SECONDS)
    given = cards.allocated[before:]
    assert len(given) == len(JOBS)
    assert {given[0][0], given[1][0]} == set(CARDS), "each of the first two has a card of its own"
    trainers = [pod for name in JOBS for pod in pods(kube, namespace, name)]
    assert all(GPU in pod["spec"]["containers"][0]["resources"]["limits"] for pod in trainers)
    ran = sorted(map(times, trainers))
    assert len(ran) == len(JOBS)
    assert ran[2][0] >= min(ran[0][1], ran[1][1]), "the third started only when a card had been released"
    record_property(
        "point",
        f"three jobs on two cards through the device plugin's socket: {len(given)} allocations, never two on one card",
    )
