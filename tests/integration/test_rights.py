"""What an operator that serves named namespaces says about GPUs, with the rights the chart gives it and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, render
from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.account import account_kubeconfig
from tests.support.kube import Kube, Kubelet
from tests.support.nodes import GPU, gpu_node, present
from tests.support.objects import finetunejob
from tests.support.operator import Operator
from tests.support.points import Record

Object = dict[str, Any]

ACCOUNT = "kubetune-operator"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PLACES = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": RBAC + "/namespaces/{}/roles",
    "RoleBinding": RBAC + "/namespaces/{}/rolebindings",
    "ClusterRole": RBAC + "/clusterroles",
    "ClusterRoleBinding": RBAC + "/clusterrolebindings",
    "RuntimeClass": "/apis/node.k8s.io/v1/runtimeclasses",
}
ONE_GPU: Object = {"resources": {"gpu": 1}}
NO_ROOM = f"0/1 nodes are available: 1 Insufficient {GPU}."


@contextmanager
def existing(admin: Api, obj: Object) -> Iterator[None]:
    """The object is in the cluster."""
    metadata = obj["metadata"]
    path = PLACES[obj["kind"]].format(metadata.get("namespace"))
    admin.request("POST", path, obj)
    try:
        yield
    finally:
        admin.request("DELETE", f"{path}/{metadata['name']}")


@pytest.fixture
def rules(kube: Kube) -> list[Object]:
    """Roles and bindings of a release that serves one namespace and may read nodes."""
    objects = render(f"namespaces={{{kube.namespace}}}", "rbac.aggregateToDefaultRoles=false", "rbac.readNodes=true")
    return [obj for obj in objects if obj["apiVersion"].startswith("rbac.")]


@pytest.fixture
def kubeconfig_of_account(admin: Api, cluster: Cluster, rules: list[Object], tmp_path: Path) -> Iterator[Path]:
    """For the operator's own account, with what it may do in its namespace."""
    own = [obj for obj in rules if obj["kind"] in {"Role", "RoleBinding"}]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}}
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    with ExitStack() as stack:
        for obj in (home, account, *own):
            stack.enter_context(existing(admin, obj))
        yield account_kubeconfig(admin, cluster.layout.pki, NAMESPACE, ACCOUNT, tmp_path / "kubeconfig")


@pytest.fixture
def limited(operator: Operator, kubeconfig_of_account: Path, kube: Kube) -> Iterator[Operator]:
    """An operator with that account, in the place of the usual one."""
    operator.stop()
    try:
        log = kubeconfig_of_account.with_name("operator.log")
        settings = {"namespaces": kube.namespace, "lease_namespace": NAMESPACE, "max_running_per_namespace": "3"}
        with Operator(kubeconfig_of_account, log, **settings) as other:
            yield other
    finally:
        operator.start()
        operator.wait_ready()


@pytest.mark.usefixtures("limited")
def test_nodes_are_read_as_soon_as_they_may_be(
    admin: Api, kube: Kube, kubelet: Kubelet, rules: list[Object], record_property: Record
) -> None:
    handler = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "n"}
    with ExitStack() as stack:
        stack.enter_context(existing(admin, handler))
        kube.create("finetunejob", finetunejob("before", **ONE_GPU))
        before = kubelet.pod_of("before-train")
        assert "runtimeClassName" not in kube.must("pod", before)["spec"]
        kubelet.cannot_schedule(before, NO_ROOM)
        condition = kube.wait_condition("finetunejob", "before", "Scheduled", "Unschedulable")
        assert condition["message"] == f"Waits for room on a node and starts by itself. The scheduler says: {NO_ROOM}"

        for obj in rules:
            if obj["kind"].startswith("Cluster"):
                stack.enter_context(existing(admin, obj))
        kube.create("finetunejob", finetunejob("never", **ONE_GPU))
        kube.wait_condition("finetunejob", "never", "Scheduled", "NoNodeWithGPU")
        assert kube.must("pod", kubelet.pod_of("never-train"))["spec"]["runtimeClassName"] == "nvidia"
        with present(admin, gpu_node(kubelet.node)):
            kubelet.run(before)
            waiting = kubelet.pod_of("never-train")
            kubelet.cannot_schedule(waiting, NO_ROOM)
            condition = kube.wait_condition("finetunejob", "never", "Scheduled", "Unschedulable")
            held = f"{kubelet.node} has 1, held by FineTuneJob {kube.namespace}/before (1)"
            assert held in condition["message"], "pods of its own namespaces are all it may see"
    record_property(
        "point",
        "an operator of one namespace with the chart's rights and no others, rbac.readNodes given to it while it runs, "
        "once: the scheduler's words before; then, without a restart, NoNodeWithGPU and who has the GPU",
    )
