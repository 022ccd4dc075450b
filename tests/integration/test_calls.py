"""Every right that the operator has is used: a tour through all that it does, its calls recorded by the proxy.

That none is missing is shown by every test of this folder: the operator acts as the chart's account and no other.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubetune.kube import rights
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import EVALUATION, finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator, instead
from tests.support.points import Record
from tests.support.proxy import Proxy
from tests.support.trainer import answering
from tests.support.workloads import eval_summary, model_deployment

Object = dict[str, Any]

APPLIED = {"deployments", "services"}
POD_IP = "127.9.8.7"
SAVES_FOR_SECONDS = 300.0
"""More than a pod's usual grace."""
CLAIM: Object = {
    "metadata": {"name": "rows"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def _trains_evaluates_serves(kube: Kube, kubelet: Kubelet) -> None:
    """A ConfigMap and a claim are looked up, a GPU's nodes and RuntimeClass, a Secret; then all three kinds act."""
    kube.create("configmap", {"metadata": {"name": "rows"}, "data": {"train.jsonl": "{}"}})
    kube.create("persistentvolumeclaim", CLAIM)
    kube.create("finetunejob", finetunejob("reads", dataset={"uri": "pvc://rows/train.jsonl"}))
    kube.wait_exists("job", "reads-train")
    dataset = {"uri": "configmap://rows/train.jsonl"}
    kube.create("modeldeployment", model_deployment(requireVerdict={"evaluationRef": {"name": "demo"}}))
    kube.create("finetunejob", finetunejob(dataset=dataset, resources={"gpu": 1}, preflight={}, evaluation=EVALUATION))
    checks = kubelet.pod_of("demo-preflight")
    kubelet.run(checks)
    kubelet.succeed(checks, preflight_summary())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    pod = kubelet.pod_of("demo-evaluate")
    kubelet.run(pod)
    kubelet.succeed(pod, eval_summary())
    kube.wait_exists("deployment", "demo")
    kube.wait_exists("service", "demo")


def _stops(kube: Kube, kubelet: Kubelet, name: str) -> None:
    """A pod that takes long to save is evicted, and a Job that Kueue has a say in is deleted."""
    kube.create("finetunejob", finetunejob(name, queueName="gpus"))
    kube.wait_exists("job", f"{name}-train")
    kube.patch("job", f"{name}-train", {"spec": {"suspend": False}})
    pod = kubelet.pod_of(f"{name}-train")
    kubelet.run(pod, POD_IP)
    kube.wait_phase("finetunejob", name, "Running")
    kube.patch("finetunejob", name, {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", name, "Suspending")
    kubelet.finish_deletion(pod)
    kube.wait_gone("job", f"{name}-train")


def _unused(asked: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    given = {
        (verb, right.resource.group, right.what)
        for right in (*rights.IN_NAMESPACES, *rights.IN_THE_CLUSTER, *rights.AT_HOME)
        for verb in right.verbs
    }
    # An apply that makes its object is authorized as a creation, too.
    return (
        given - asked - {("create", group, what) for verb, group, what in asked if verb == "patch" and what in APPLIED}
    )


@pytest.mark.law("F18")
def test_every_right_is_used(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy, record_property: Record
) -> None:
    with answering(POD_IP, checkpointSeconds=SAVES_FOR_SECONDS), instead(operator, max_running_per_namespace="5"):
        _trains_evaluates_serves(kube, kubelet)
        # A pod that does not answer within a second, on a busy machine, is given the usual grace.
        tries = iter(range(5))
        while ("create", "", "pods/eviction") in _unused(proxy.asked):
            _stops(kube, kubelet, f"queued-{next(tries)}")
        wait_for(lambda: not _unused(proxy.asked), 20, lambda: f"never used: {sorted(_unused(proxy.asked))}")
    record_property("point", "each right (verb and resource) of the operator's account is used in one tour")
