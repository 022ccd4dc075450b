"""At most so many trainings of a namespace at once, against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.bulk import create_all
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.nodes import gpu_node, present
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


@pytest.fixture
def one_place(limited: Operator) -> Iterator[Operator]:
    """An operator that lets a single training run, as on a server with one GPU."""
    with instead(limited, max_running_per_namespace="1", **QUICK) as other:
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
    kube.wait_phase("finetunejob", "b", "Suspending")
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


def is_held(kube: Kube, name: str) -> bool:
    """Whether the training has no pod and will get none."""
    job = kube.get("job", f"{name}-train")
    return job is None or (job["spec"].get("suspend") is True and not job.get("status", {}).get("active"))


@pytest.mark.law("F13")
@pytest.mark.usefixtures("one_place")
def test_a_job_that_no_node_can_take_blocks_nobody(
    admin: Api, kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    kube.create("finetunejob", finetunejob("large", resources={"gpu": 1, "gpuMemory": "8Gi"}))
    kube.wait_condition("finetunejob", "large", "Scheduled", "NoNodeWithGPU")
    created = time.monotonic()
    kube.create("finetunejob", finetunejob("small"))
    kube.wait_exists("job", "small-train")
    waited = time.monotonic() - created
    assert is_held(kube, "large"), "a node that comes would have two of them train"
    pod = kubelet.pod_of("small-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "small", "Running")
    kube.wait_phase("finetunejob", "large", "Queued")
    condition = kube.condition("finetunejob", "large", "Scheduled")
    assert (condition["status"], condition["reason"]) == ("False", "NoNodeWithGPU")
    # It was told to wait before the other one began, and looks again once it has.
    wait_for(
        lambda: "1 of at most 1 trainings" in kube.condition("finetunejob", "large", "Scheduled")["message"],
        40,
        lambda: kube.condition("finetunejob", "large", "Scheduled")["message"],
    )
    # One more, also younger: it waits for the first only, and is let in before the one that could not run.
    kube.create("finetunejob", finetunejob("next"))
    wait_position(kube, "next", 1)
    wait_position(kube, "large", 2, seconds=40)
    with present(admin, gpu_node("old", 4096)):
        kube.wait_condition("finetunejob", "large", "Scheduled", "NoSuitableNode", seconds=40)
        with present(admin, gpu_node(kubelet.node, 12288)):
            kube.wait_condition("finetunejob", "large", "Scheduled", "Queued", seconds=40)
            wait_position(kube, "large", 1)
            wait_position(kube, "next", 2, seconds=40)
            assert is_held(kube, "large")
            kubelet.succeed(pod, train_summary())
            ended = time.monotonic()
            pod = kubelet.pod_of("large-train")
            started = time.monotonic() - ended
            kubelet.run(pod)
            kube.wait_phase("finetunejob", "large", "Running")
            assert kube.get("job", "next-train") is None
            kubelet.succeed(pod, train_summary())
    kube.wait_exists("job", "next-train", seconds=5)
    record_property(
        "point",
        f"quota of 1, a job no node can take before two others: the next began after {waited:.1f} s, it said why, was "
        f"first in line again once a node had the GPU, and began {started:.1f} s after the end of the one before",
    )


@pytest.mark.law("F13")
@pytest.mark.usefixtures("one_place")
def test_a_job_for_more_memory_than_any_node_has_blocks_nobody(
    admin: Api, kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    """Without a GPU, too."""
    with present(admin, gpu_node("pc", count=0)):
        kube.create("finetunejob", finetunejob("heavy", resources={"memory": "64Gi"}))
        kubelet.cannot_schedule(kubelet.pod_of("heavy-train"), "0/1 nodes are available: 1 Insufficient memory.")
        condition = kube.wait_condition("finetunejob", "heavy", "Scheduled", "NoSuitableNode")
        wanted = "pc has 32 GiB of main memory for pods, and spec.resources.memory asks for 64Gi"
        assert wanted in condition["message"]
        created = time.monotonic()
        kube.create("finetunejob", finetunejob("light"))
        kube.wait_exists("job", "light-train")
        waited = time.monotonic() - created
        assert is_held(kube, "heavy")
        with present(admin, gpu_node("big", count=0, main_memory="128Gi")):
            kube.wait_condition("finetunejob", "heavy", "Scheduled", "Queued", seconds=40)
            finish(kube, kubelet, "light")
            kubelet.run(kubelet.pod_of("heavy-train"))
            kube.wait_phase("finetunejob", "heavy", "Running")
    record_property(
        "point",
        f"quota of 1, a job for more main memory than any node has, once: the next began after {waited:.1f} s, and it "
        "once a node had as much",
    )


@pytest.mark.usefixtures("one_place")
def test_a_job_whose_node_went_away_gives_its_place_back(
    admin: Api, kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    with present(admin, gpu_node("pc", 12288)):
        kube.create("finetunejob", finetunejob("gpu", resources={"gpu": 1, "gpuMemory": "8Gi"}))
        first = kubelet.pod_of("gpu-train")
        kubelet.cannot_schedule(first, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        kube.wait_condition("finetunejob", "gpu", "Scheduled", "Unschedulable")
        kube.create("finetunejob", finetunejob("cpu"))
        wait_position(kube, "cpu", 1)
        time.sleep(12)
        assert kube.get("job", "cpu-train") is None, "a GPU that is merely taken is waited for"
        assert kube.must("job", "gpu-train")["spec"]["suspend"] is False
    gone = time.monotonic()
    kube.wait_exists("job", "cpu-train", seconds=30)
    waited = time.monotonic() - gone
    assert kube.get("pod", first) is None
    assert is_held(kube, "gpu")
    assert kube.condition("finetunejob", "gpu", "Scheduled")["reason"] == "NoNodeWithGPU"
    finish(kube, kubelet, "cpu")
    with present(admin, gpu_node(kubelet.node, 12288)):
        pod = kubelet.pod_of("gpu-train")
        kubelet.run(pod)
        kube.wait_phase("finetunejob", "gpu", "Running")
        kube.create("finetunejob", finetunejob("later"))
        wait_position(kube, "later", 1)
    # Its labels and its node are gone, yet it runs.
    time.sleep(12)
    assert "deletionTimestamp" not in kube.must("pod", pod)["metadata"]
    assert kube.must("job", "gpu-train")["spec"]["suspend"] is False
    assert kube.get("job", "later-train") is None
    record_property(
        "point",
        f"quota of 1, the only GPU node goes away under a pod that waits, once: its place went to the next after "
        f"{waited:.1f} s; the node back, it began; the node gone again while it ran, it was left alone",
    )


@pytest.mark.law("F28")
def test_a_quota_on_cpu_limits_is_told_and_met(kube: Kube, record_property: Record) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"limits.cpu": "4"}}}
    kube.create("resourcequota", quota)
    wait_for(lambda: kube.must("resourcequota", "small").get("status", {}).get("hard"), 20, lambda: "no quota yet")
    kube.create("finetunejob", finetunejob("refused"))
    told = kube.wait_condition("finetunejob", "refused", "Scheduled", "CreationRefused")
    assert "must specify limits.cpu" in told["message"]
    assert "Set spec.resources.cpuLimit" in told["message"]
    kube.create("finetunejob", finetunejob("taken", resources={"cpuLimit": "2"}))
    wait_for(
        lambda: any(pod["metadata"]["name"].startswith("taken-train") for pod in kube.list("pod")),
        30,
        lambda: "the quota refuses it, too",
    )
    record_property("point", "a ResourceQuota with limits.cpu: told which field to set, and met by cpuLimit")
