"""GPUs, against a real API server: what pods ask for, and what is said when no node has it.

Nodes are real objects with the labels of GPU feature discovery, and no machine behind them; no scheduler runs, so
nothing here can come from its words unless a test writes them.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.nodes import GPU, gpu_node, present
from tests.support.objects import finetunejob, preflight_summary
from tests.support.points import Record

pytestmark = pytest.mark.usefixtures("operator")

Object = dict[str, Any]

GIB = 1024**3
MIG, SHARED = "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"
SOON = 5.0
"""Seconds within which a user is to know."""

NEVER: dict[str, tuple[Object, tuple[Object, ...], str, list[str]]] = {
    "no node has one": ({"gpu": 1}, (), "NoNodeWithGPU", [f"No node offers {GPU}", "device plugin"]),
    "another resource": (
        {"gpu": 1},
        (gpu_node("pc", resource=SHARED),),
        "NoNodeWithGPU",
        [f"pc offers {SHARED}", "spec.resources.gpuResourceName"],
    ),
    "no such slice": (
        {"gpu": 1, "gpuResourceName": MIG},
        (gpu_node("pc"),),
        "NoNodeWithGPU",
        [f"No node offers {MIG}", f"pc offers {GPU}"],
    ),
    "plugin that reports none": ({"gpu": 1}, (gpu_node("pc", count=0),), "NoNodeWithGPU", ["pc had it"]),
    "too little memory": (
        {"gpu": 1, "gpuMemory": "12G"},
        (gpu_node("old", 4096), gpu_node("older", 2048)),
        "NoSuitableNode",
        ["of at least 11445 MiB", "old has 4 GiB; older has 2 GiB"],
    ),
    "a size as on the box, but in GiB": (
        {"gpu": 1, "gpuMemory": "24Gi"},
        (gpu_node("ada", 24564),),
        "NoSuitableNode",
        ["ada has 24564 MiB", "24564Mi would do"],
    ),
    "too old": (
        {"gpu": 1, "computeCapability": "8.6"},
        (gpu_node("pascal", 8192, (6, 1)),),
        "NoSuitableNode",
        ["pascal has capability 6.1"],
    ),
    "no labels": (
        {"gpu": 1, "gpuMemory": "12Gi"},
        (gpu_node("pc"),),
        "NoSuitableNode",
        ["pc has no label nvidia.com/gpu.memory", "kubectl label node pc nvidia.com/gpu.memory=<MiB"],
    ),
    "more than any node has": (
        {"gpu": 4},
        (gpu_node("left", count=2), gpu_node("right", count=2)),
        "NoSuitableNode",
        ["left has 2", "right has 2", "all of one node"],
    ),
    "slice of too little memory": (
        {"gpu": 1, "gpuResourceName": MIG, "gpuMemory": "16Gi"},
        (gpu_node("a100", 81920, resource=MIG, count=7, labels={f"{MIG}.memory": "9856"}),),
        "NoSuitableNode",
        [f"1 {MIG} of at least 16 GiB", "a100 has 9856 MiB"],
    ),
}


def train(kube: Kube, name: str = "demo", **spec: Any) -> None:
    kube.create("finetunejob", finetunejob(name, **spec))


def pod_of(kube: Kube, job: str) -> Object:
    spec: Object = kube.wait_exists("job", job)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("what", NEVER)
def test_no_node_can_ever(what: str, admin: Api, kube: Kube, record_property: Record) -> None:
    resources, nodes, reason, words = NEVER[what]
    with present(admin, *nodes):
        started = time.monotonic()
        train(kube, resources=resources)
        condition = kube.wait_condition("finetunejob", "demo", "Scheduled", reason, seconds=SOON)
        seconds = time.monotonic() - started
        assert condition["status"] == "False"
        for word in words:
            assert word in condition["message"], condition["message"]
        assert kube.condition("finetunejob", "demo", "Succeeded")["message"] == condition["message"]
        if what == list(NEVER)[-1]:
            text = f"no node can ever take the job, {len(NEVER)} ways of it: the condition says so and what to do"
            record_property("point", f"{text}, the last after {seconds:.1f} s, without a scheduler's word")


def test_a_node_that_joins_later_is_noticed(admin: Api, kube: Kube, kubelet: Kubelet) -> None:
    train(kube, resources={"gpu": 1, "gpuMemory": "8Gi"})
    kube.wait_condition("finetunejob", "demo", "Scheduled", "NoNodeWithGPU")
    with present(admin, gpu_node("old", 4096)):
        condition = kube.wait_condition("finetunejob", "demo", "Scheduled", "NoSuitableNode")
        assert "old has 4 GiB" in condition["message"]
        with present(admin, gpu_node(kubelet.node, 12288)):
            kube.wait_condition("finetunejob", "demo", "Scheduled", "Waiting")
            kubelet.run(kubelet.pod_of("demo-train"))
            status = kube.wait_phase("finetunejob", "demo", "Running")
    (scheduled,) = [one for one in status["conditions"] if one["type"] == "Scheduled"]
    assert scheduled["message"] == f"On node {kubelet.node}, one with 1 {GPU} of at least 8 GiB."


def test_the_estimate_keeps_it_off_small_cards(
    admin: Api, kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    """An old card with 4 GB beside one with 12 GB, and nothing asked for but a GPU."""
    parts = dict.fromkeys(("weights", "adapter", "gradients", "optimizer", "activations", "overhead"), 0)
    memory = parts | {"total": 7 * GIB, "available": 12 * GIB, "accelerator": "new"}
    with present(admin, gpu_node("old", 4096), gpu_node("new", 12288)):
        train(kube, resources={"gpu": 1}, preflight={})
        pod = kubelet.pod_of("demo-preflight")
        kubelet.run(pod)
        kubelet.succeed(pod, preflight_summary(memory=memory))
        affinity = pod_of(kube, "demo-train")["affinity"]["nodeAffinity"]
        assert affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] == [
            {"matchExpressions": [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["7167"]}]}
        ]
        kube.wait_condition("finetunejob", "demo", "Scheduled", "Waiting")
        live = kube.must("pod", kubelet.pod_of("demo-train"))
        assert live["spec"]["affinity"]["nodeAffinity"] == affinity
    record_property(
        "point", "a 4 GB card beside a 12 GB one, 7 GiB estimated, 1 time: the pod may land on the large only"
    )


def test_slices_and_shares_are_asked_for_by_name(admin: Api, kube: Kube, kubelet: Kubelet) -> None:
    slices = gpu_node("a100", 81920, (8, 0), resource=MIG, count=7, labels={f"{MIG}.memory": "9856"})
    with present(admin, slices, gpu_node("pc", 12288, resource=SHARED, count=4)):
        train(kube, "mig", resources={"gpu": 1, "gpuResourceName": MIG, "gpuMemory": "8Gi", "computeCapability": "8.0"})
        train(kube, "shared", resources={"gpu": 1, "gpuResourceName": SHARED})
        for name, resource in (("mig", MIG), ("shared", SHARED)):
            limits = kube.must("pod", kubelet.pod_of(f"{name}-train"))["spec"]["containers"][0]["resources"]["limits"]
            assert limits[resource] == "1"
            assert GPU not in limits
            kube.wait_condition("finetunejob", name, "Scheduled", "Waiting")


def test_the_runtime_class_is_found(admin: Api, kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    body = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
    admin.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
    try:
        train(kube, "gpu", resources={"gpu": 1})
        train(kube, "cpu")
        assert kube.must("pod", kubelet.pod_of("gpu-train"))["spec"]["runtimeClassName"] == "nvidia"
        assert "runtimeClassName" not in kube.must("pod", kubelet.pod_of("cpu-train"))["spec"]
    finally:
        admin.request("DELETE", "/apis/node.k8s.io/v1/runtimeclasses/nvidia")
    train(kube, "later", resources={"gpu": 1})
    assert "runtimeClassName" not in pod_of(kube, "later-train"), "what is gone is not used"
    train(kube, "wrong", resources={"gpu": 1}, runtimeClassName="missing")
    condition = kube.wait_condition("finetunejob", "wrong", "Scheduled", "RuntimeClassNotFound")
    assert "spec.runtimeClassName" in condition["message"]
    record_property(
        "point", "RuntimeClass nvidia there, gone, and a wrong name, once each: used by pods with a GPU only"
    )


def test_taken_says_by_whom(admin: Api, kube: Kube, kubelet: Kubelet) -> None:
    with present(admin, gpu_node(kubelet.node, count=2)):
        for name in ("first", "second"):
            train(kube, name, resources={"gpu": 1})
            kubelet.run(kubelet.pod_of(f"{name}-train"))
        train(kube, "third", resources={"gpu": 1})
        waiting = kubelet.pod_of("third-train")
        kubelet.cannot_schedule(waiting, f"0/1 nodes are available: 1 Insufficient {GPU}.")
        condition = kube.wait_condition("finetunejob", "third", "Scheduled", "Unschedulable", seconds=SOON)
        held = f"FineTuneJob {kube.namespace}/first (1), FineTuneJob {kube.namespace}/second (1)"
        assert f"{kubelet.node} has 2, held by {held}" in condition["message"]
        assert f"Insufficient {GPU}" in condition["message"]
        assert "It starts by itself." in condition["message"]
        kubelet.run(waiting)
        kube.wait_phase("finetunejob", "third", "Running")


def test_servers_are_told_the_same(admin: Api, kube: Kube) -> None:
    spec = {"model": {"uri": "s3://models/tiny"}, "resources": {"gpu": 1, "gpuMemory": "8Gi"}}
    body = {"apiVersion": "kubetune.io/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "bot"}, "spec": spec}
    with present(admin, gpu_node("old", 4096)):
        kube.create("modeldeployment", body)
        kube.wait_exists("deployment", "bot")

        def pod() -> str | None:
            return next((found["metadata"]["name"] for found in kube.list("pod")), None)

        Kubelet(kube).cannot_schedule(wait_for(pod, 15, lambda: "no pod"), "0/1 nodes are available.")
        condition = kube.wait_condition("modeldeployment", "bot", "Ready", "NoSuitableNode")
        assert "old has 4 GiB" in condition["message"]
