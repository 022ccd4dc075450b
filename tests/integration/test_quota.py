"""At most so many trainings of a namespace at once, against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.support.bulk import create_all
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator, instead
from tests.support.points import Record
from tests.support.proxy import Proxy

Object = dict[str, Any]
LIMIT = 2
QUICK = {"poll_seconds": "0.3", "progress_write_seconds": "0.5"}


@pytest.fixture(scope="module")
def limited(operator: Operator) -> Iterator[Operator]:
    """An operator that lets two trainings of a namespace run."""
    with instead(operator, max_running_per_namespace=str(LIMIT), **QUICK) as other:
        yield other


pytestmark = pytest.mark.usefixtures("limited")


def active(kube: Kube) -> list[str]:
    """FineTuneJobs whose training's Job may have pods."""
    return [
        job["metadata"]["name"].removesuffix("-train")
        for job in kube.list("job")
        if job["metadata"]["name"].endswith("-train") and not job["spec"].get("suspend") and not _has_ended(job)
    ]


def _has_ended(job: Object) -> bool:
    ends = ("Complete", "Failed")
    return any(one["type"] in ends and one["status"] == "True" for one in job.get("status", {}).get("conditions", ()))


def position(kube: Kube, name: str) -> int | None:
    found: int | None = kube.status("finetunejob", name).get("queue", {}).get("position")
    return found


def wait_position(kube: Kube, name: str, place: int, seconds: float = 10) -> None:
    wait_for(
        lambda: position(kube, name) == place,
        seconds,
        lambda: f"{name}: {kube.status('finetunejob', name)}, not {place}",
    )


def finish(kube: Kube, kubelet: Kubelet, name: str) -> None:
    pod = kubelet.pod_of(f"{name}-train")
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    kube.wait_phase("finetunejob", name, "Succeeded")


def stop(kube: Kube, kubelet: Kubelet, pod: str) -> None:
    """The pod takes a moment to save, and is gone."""
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)


def test_the_others_wait_in_the_order_of_their_creation(kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    for name in ("a", "b", "c", "d", "e"):
        kube.create("finetunejob", finetunejob(name))
    for place, name in enumerate(("c", "d", "e"), start=1):
        kube.wait_phase("finetunejob", name, "Queued")
        wait_position(kube, name, place)
        assert kube.get("job", f"{name}-train") is None
    assert sorted(active(kube)) == ["a", "b"]
    condition = kube.condition("finetunejob", "d", "Scheduled")
    assert (condition["reason"], condition["status"]) == ("Queued", "False")
    assert "number 2 in line" in condition["message"]

    finish(kube, kubelet, "a")
    ended = time.monotonic()
    kube.wait_exists("job", "c-train", seconds=5)
    after_end = time.monotonic() - ended
    wait_position(kube, "d", 1)

    pod = kubelet.pod_of("b-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "b", "Running")
    kube.patch("finetunejob", "b", {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", "b", "Suspended")
    time.sleep(1)
    assert kube.get("job", "d-train") is None, "the pod of b is still there"
    stop(kube, kubelet, pod)
    stopped = time.monotonic()
    kube.wait_exists("job", "d-train", seconds=12)
    after_stop = time.monotonic() - stopped

    kube.patch("finetunejob", "b", {"spec": {"suspend": False}})
    kube.wait_phase("finetunejob", "b", "Queued")
    wait_position(kube, "b", 1)
    wait_position(kube, "e", 2, seconds=40)
    assert kube.must("job", "b-train")["spec"]["suspend"] is True
    pod = kubelet.pod_of("c-train")
    kube.delete("finetunejob", "c")
    wait_for(lambda: kube.must("job", "b-train")["spec"]["suspend"] is False, 60, lambda: "b was not resumed")
    assert kube.get("pod", pod) is None or "deletionTimestamp" in kube.must("pod", pod)["metadata"]
    assert sorted(active(kube)) == ["b", "d"]
    finish(kube, kubelet, "d")
    kube.wait_exists("job", "e-train", seconds=5)
    record_property(
        "point",
        f"quota of {LIMIT}: 5 jobs, ended, suspended, resumed and deleted ones: order kept, next one started "
        f"{after_end:.1f} s after an end and {after_stop:.1f} s after a suspended pod was gone",
    )


def test_the_checks_are_not_held_back(kube: Kube, kubelet: Kubelet) -> None:
    for name in ("a", "b"):
        kube.create("finetunejob", finetunejob(name))
        kube.wait_exists("job", f"{name}-train")
    kube.create("finetunejob", finetunejob("c", preflight={}))
    pod = kubelet.pod_of("c-preflight")
    kubelet.run(pod)
    kubelet.succeed(pod, preflight_summary())
    kube.wait_phase("finetunejob", "c", "Queued")
    assert kube.condition("finetunejob", "c", "Preflighted")["status"] == "True"
    finish(kube, kubelet, "a")
    kube.wait_exists("job", "c-train", seconds=5)


def test_waiting_in_line_costs_no_writes(kube: Kube, proxy: Proxy) -> None:
    for name in ("a", "b", "c", "d"):
        kube.create("finetunejob", finetunejob(name))
    for place, name in enumerate(("c", "d"), start=1):
        wait_position(kube, name, place)
    time.sleep(1)
    writes, passes = proxy.writes(kube.namespace), proxy.passes(kube.namespace)
    wait_for(lambda: proxy.passes(kube.namespace) > passes, 10, lambda: "whoever is next does not look")
    time.sleep(1)
    assert proxy.writes(kube.namespace) == writes


@pytest.mark.training
def test_forty_at_once_and_a_killed_operator(
    kube: Kube,
    kubelet: Kubelet,
    limited: Operator,
    cluster: Cluster,
    record_property: Record,
) -> None:
    """Sixteen workers look at them at the same time; whenever it is looked, no more than two may run."""
    names = [f"j{index:02}" for index in range(40)]
    objects = [finetunejob(name) for name in names]
    for obj in objects:
        obj["metadata"]["namespace"] = kube.namespace
    create_all(cluster.kubeconfig, objects)
    order: list[str] = []
    looks = kills = 0
    deadline = time.monotonic() + 180
    while len(order) < len(names):
        assert time.monotonic() < deadline, f"{len(order)} of {len(names)} have run"
        running = active(kube)
        looks += 1
        assert len(running) <= LIMIT, running
        if len(order) in (10, 25) and kills < (len(order) > 10) + 1:
            kills += 1
            limited.kill()
            limited.start()
        for name in running:
            if name not in order:
                pod = kubelet.pod_of(f"{name}-train")
                kubelet.run(pod)
                assert len(active(kube)) <= LIMIT
                kubelet.succeed(pod, train_summary())
                order.append(name)
        time.sleep(0.02)
    for name in names:
        kube.wait_phase("finetunejob", name, "Succeeded")
    record_property(
        "point",
        f"quota of {LIMIT}: {len(names)} jobs at once, operator killed {kills} times: all ran, never more than "
        f"{LIMIT} at a time in {looks} looks",
    )
