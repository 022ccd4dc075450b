"""What a training costs, and budgets, against a real API server; the tests write what kubelets and trainers would."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob, preflight_summary, store_secret, train_summary
from tests.support.operator import Operator, instead
from tests.support.points import Record
from tests.support.trainer import answering

Object = dict[str, Any]

POD_IP = f"127.9.{os.getpid() % 250}.8"
CARD = "NVIDIA-GeForce-RTX-3060"
CLASSES = [{"name": CARD, "pricePerHour": 3.6, "watts": 100, "tflops": 51}]
NAMESPACE = f"budget-{uuid4().hex[:8]}"
BUDGET = 10.0


@pytest.fixture(scope="module")
def priced(operator: Operator) -> Iterator[Operator]:
    """An operator that knows what things cost."""
    settings = {"gpu_classes": json.dumps(CLASSES), "budgets": json.dumps({NAMESPACE: BUDGET}), "currency": "EUR"}
    with instead(operator, poll_seconds="0.3", progress_write_seconds="0.5", **settings) as other:
        yield other


@pytest.fixture
def budgeted(admin: Api) -> Iterator[Kube]:
    """The namespace that has a budget."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    admin.request("POST", "/api/v1/namespaces", body)
    kube = Kube(admin, NAMESPACE)
    kube.create("secret", store_secret())
    yield kube
    admin.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture
def node(admin: Api, kube: Kube, kubelet: Kubelet) -> Iterator[str]:
    """The node that the kubelet of these tests is on, with a GPU and the labels of GPU feature discovery."""
    labels = {
        "nvidia.com/gpu.product": CARD,
        "nvidia.com/gpu.memory": "12288",
        "nvidia.com/gpu.compute.major": "8",
        "nvidia.com/gpu.compute.minor": "6",
        "place": kube.namespace,
    }
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": kubelet.node, "labels": labels}}
    admin.request("POST", "/api/v1/nodes", body)
    status = {"capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"}}
    admin.request("PATCH", f"/api/v1/nodes/{kubelet.node}/status", {"status": status}, "application/merge-patch+json")
    yield kubelet.node
    admin.request("DELETE", f"/api/v1/nodes/{kubelet.node}")


def shown(kube: Kube, active: float) -> Object:
    """The cost once that much time is counted."""

    def look() -> Object | None:
        cost: Object = kube.status("finetunejob", "demo").get("cost", {})
        return cost if cost.get("activeSeconds") == active else None

    return wait_for(look, 15, lambda: f"{kube.status('finetunejob', 'demo')}: not {active} s")


@pytest.mark.usefixtures("priced", "node")
def test_only_time_in_training_costs(kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    spec: Object = {"resources": {"gpu": 1}, "nodeSelector": {"place": kube.namespace}, "preflight": {}}
    kube.create("finetunejob", finetunejob(**spec))
    checks = kube.wait_exists("job", "demo-preflight")
    config = json.loads(checks["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    (card,) = config["placement"]["accelerators"]
    assert (card["name"], card["memoryBytes"], card["computeCapability"]) == (CARD, 12 * 1024**3, "8.6")
    assert (card["pricePerHour"], config["placement"]["currency"]) == (3.6, "EUR")
    pod = kubelet.pod_of("demo-preflight")
    kubelet.run(pod)
    kubelet.succeed(pod, preflight_summary())
    training = json.loads(
        kube.wait_exists("job", "demo-train")["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"]
    )
    assert not training["placement"].get("accelerators"), "a node that comes or goes must not make it another run"

    with answering(POD_IP, activeSeconds=100.0) as answer:
        kubelet.run(kubelet.pod_of("demo-train"), POD_IP)
        cost = shown(kube, 100.0)
        assert (cost["amount"], cost["kWh"], cost["accelerator"]) == (0.1, 0.002778, CARD)
        answer["activeSeconds"] = 500.0
        assert shown(kube, 500.0)["display"] == "0.50 EUR"
        killed = kubelet.pod_of("demo-train")
        kubelet.fail(killed, 137)
        answer["activeSeconds"] = 300.0
        kubelet.run(kubelet.pod_of("demo-train"), POD_IP)
        wait_for(
            lambda: kube.status("finetunejob", "demo")["cost"]["reportedSeconds"] == 300.0,
            15,
            lambda: str(kube.status("finetunejob", "demo")),
        )
        answer["activeSeconds"] = 400.0
        assert shown(kube, 600.0)["gpuSeconds"] == 600.0
    kubelet.succeed(kubelet.pod_of("demo-train"), train_summary(activeSeconds=700.0))
    kube.wait_phase("finetunejob", "demo", "Succeeded")
    cost = shown(kube, 900.0)
    assert cost["display"] == "0.90 EUR"
    record_property(
        "point",
        "cost at 3.60 EUR/h: 500 s, killed, 300 s told anew, 700 s at the end: 900 s, 0.90 EUR, by the node's labels",
    )


def checked(kubelet: Kubelet, name: str, estimate: float) -> None:
    pod = kubelet.pod_of(f"{name}-preflight")
    kubelet.run(pod)
    figures = {"low": estimate / 2, "estimate": estimate, "high": estimate * 2}
    kubelet.succeed(pod, preflight_summary(cost=figures))


@pytest.mark.usefixtures("priced")
def test_a_budget_holds_new_ones_and_stops_none(budgeted: Kube, record_property: Record) -> None:
    kubelet = Kubelet(budgeted)
    kube = budgeted
    for name, estimate in (("a", 6.0), ("b", 5.0), ("c", 4.0)):
        kube.create("finetunejob", finetunejob(name, preflight={}))
        checked(kubelet, name, estimate)
        if name == "b":
            kube.wait_condition("finetunejob", "b", "Scheduled", "BudgetExceeded")
        else:
            kube.wait_exists("job", f"{name}-train")
    status = kube.wait_phase("finetunejob", "b", "Queued")
    for words in (
        f"The budget of namespace {NAMESPACE} is 10.00 EUR",
        "have cost 0.00 EUR",
        "6.00 EUR more",
        "5.00 EUR",
    ):
        assert words in status["queue"]["message"]
    pod = kubelet.pod_of("a-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "a", "Running")
    assert kube.get("job", "b-train") is None
    kube.delete("finetunejob", "a")
    kube.delete("finetunejob", "c")

    def is_gone() -> bool:
        for obj in kube.list("pod"):
            if "deletionTimestamp" in obj["metadata"]:
                kubelet.finish_deletion(obj["metadata"]["name"])
        return kube.get("job", "b-train") is not None

    wait_for(is_gone, 60, lambda: str(kube.status("finetunejob", "b")))
    record_property(
        "point",
        "budget of 10 EUR: 6 begun, 5 held with the reason, 4 let in beside it, 5 started once the others were deleted",
    )
