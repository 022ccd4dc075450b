"""Nodes with GPUs as device plugins and GPU feature discovery describe them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.api import Api

from .kube import MERGE

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
CAPABILITY_8_6 = (8, 6)


def mib(count: int) -> int:
    """In bytes."""
    return count * 1024**2


def gpu_node(
    name: str,
    memory: int | None = None,
    capability: tuple[int, int] | None = None,
    *,
    resource: str = GPU,
    count: int = 1,
    ready: bool = True,
    taints: list[Object] | None = None,
    labels: dict[str, str] | None = None,
    main_memory: str = "32Gi",
) -> Object:
    """``memory`` of a GPU in MiB; what is None has no label. ``labels`` are further ones."""
    shown = dict(labels or {})
    if memory is not None:
        shown["nvidia.com/gpu.memory"] = str(memory)
    if capability:
        major, minor = capability
        shown |= {"nvidia.com/gpu.compute.major": str(major), "nvidia.com/gpu.compute.minor": str(minor)}
    offered = {"cpu": "8", "memory": main_memory, "ephemeral-storage": "500Gi", resource: str(count)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": shown},
        "spec": {"taints": taints} if taints else {},
        "status": {
            "allocatable": offered,
            "capacity": offered,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


@contextmanager
def present(api: Api, *nodes: Object) -> Iterator[None]:
    """The nodes are in the cluster, with their status."""
    made = []
    try:
        for node in nodes:
            name = node["metadata"]["name"]
            api.request("POST", "/api/v1/nodes", node)
            made.append(name)
            api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": node["status"]}, MERGE)
        yield
    finally:
        for name in made:
            api.request("DELETE", f"/api/v1/nodes/{name}")
