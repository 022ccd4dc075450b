"""Objects that make a bare API server a usable cluster: DNS, its RBAC, the default storage class.

Each entry is (path of the collection, object); pure.
"""

from __future__ import annotations

from typing import Any

from .config import PROVISIONER, STORAGE_CLASS
from .layout import Addresses

Manifest = tuple[str, dict[str, Any]]

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def _role(name: str, user: str, rules: list[dict[str, list[str]]]) -> list[Manifest]:
    version = "rbac.authorization.k8s.io/v1"
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}}
    binding = {"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name}}
    return [
        (f"{RBAC}/clusterroles", {**role, "rules": rules}),
        (
            f"{RBAC}/clusterrolebindings",
            {**binding, "subjects": [subject], "roleRef": reference},
        ),
    ]


def _rule(group: str, resources: str, verbs: str) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def dns(addresses: Addresses) -> list[Manifest]:
    """The kube-dns Service, backed by the CoreDNS process of the node."""
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"clusterIP": str(addresses.dns), "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [str(addresses.node)], "conditions": {"ready": True}}],
    }
    slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
    return [
        *_role(
            "system:coredns",
            "system:coredns",
            [
                _rule("", "endpoints services pods namespaces", "list watch"),
                _rule("discovery.k8s.io", "endpointslices", "list watch"),
            ],
        ),
        ("/api/v1/namespaces/kube-system/services", service),
        (slices, endpoints),
    ]


def storage() -> list[Manifest]:
    """The default storage class and what its provisioner may do."""
    user = "system:persistent-volume-provisioner"
    extra = [
        _rule("", "events", "create patch update"),
        _rule("", "persistentvolumes", "get list watch create delete patch update"),
        _rule("", "persistentvolumeclaims nodes", "get list watch"),
        _rule("storage.k8s.io", "storageclasses", "get list watch"),
    ]
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [
        *_role("kubetune:local-path-provisioner", user, extra),
        ("/apis/storage.k8s.io/v1/storageclasses", storage_class),
    ]


def extended_resource(name: str, count: int) -> dict[str, Any]:
    """Merge patch of a node's status that advertises count units of an extended resource."""
    quantity = {name: str(count)} if count else {name: None}
    return {"status": {"capacity": quantity, "allocatable": quantity}}
