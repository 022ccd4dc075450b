"""The cluster's nodes, and their GPUs as device plugins and GPU feature discovery describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kubetune.common.quantity import parse_quantity
from kubetune.prices import GpuClass, class_of
from kubetune_contract.train import Accelerator

Object = dict[str, Any]

PRODUCT = "nvidia.com/gpu.product"
MEMORY = "nvidia.com/gpu.memory"
"""In MiB, of one GPU."""
MAJOR, MINOR = "nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor"
"""Labels of GPU feature discovery."""
MEBIBYTE = 1024**2
_MIG = "nvidia.com/mig-"


@dataclass(frozen=True)
class GpuNode:
    """A node that may offer GPUs; what it does not say is None."""

    name: str
    labels: Mapping[str, str]
    gpus: int
    """Offered to pods, taken or not."""
    product: str | None
    memory_bytes: int | None
    """Of one GPU or MIG slice."""
    compute_capability: str | None
    cores: Decimal | None = None
    """CPU offered to pods, taken or not."""
    main_memory_bytes: int | None = None
    """Offered to pods, taken or not."""
    taints: tuple[Object, ...] = ()
    is_cordoned: bool = False
    is_ready: bool = True
    disk_bytes: int | None = None
    """Of the node's own disk offered to pods, taken or not."""


def memory_label(resource: str) -> str:
    """The label that tells the memory of one GPU; a MIG slice has one of its own."""
    return f"{_unshared(resource)}.memory" if resource.startswith(_MIG) else MEMORY


def _product_label(resource: str) -> str:
    return f"{_unshared(resource)}.product" if resource.startswith(_MIG) else PRODUCT


def _unshared(resource: str) -> str:
    """Time slicing renames the resource, but not its labels."""
    return resource.removesuffix(".shared")


def gpu_nodes(nodes: Iterable[Object], resource: str) -> tuple[GpuNode, ...]:
    """The nodes that offer ``resource``."""
    return tuple(node for node in all_nodes(nodes, resource) if node.gpus > 0)


def all_nodes(nodes: Iterable[Object], resource: str) -> tuple[GpuNode, ...]:
    """Every node, with what it has of ``resource``."""
    return tuple(_read_node(node, resource) for node in nodes)


def _read_node(node: Object, resource: str) -> GpuNode:
    labels: dict[str, str] = node["metadata"].get("labels") or {}
    allocatable = node.get("status", {}).get("allocatable") or {}
    memory = _whole(labels.get(memory_label(resource)))
    major, minor = labels.get(MAJOR), labels.get(MINOR)
    main_memory, cores, disk = (allocatable.get(what) for what in ("memory", "cpu", "ephemeral-storage"))
    return GpuNode(
        name=node["metadata"]["name"],
        labels=labels,
        gpus=int(parse_quantity(allocatable.get(resource, "0"))),
        product=labels.get(_product_label(resource)) or None,
        memory_bytes=memory * MEBIBYTE if memory else None,
        compute_capability=f"{major}.{minor}" if _whole(major) is not None and _whole(minor) is not None else None,
        cores=parse_quantity(cores) if cores else None,
        main_memory_bytes=int(parse_quantity(main_memory)) if main_memory else None,
        taints=tuple(node.get("spec", {}).get("taints") or ()),
        is_cordoned=bool(node.get("spec", {}).get("unschedulable")),
        is_ready=_is_ready(node),
        disk_bytes=int(parse_quantity(disk)) if disk else None,
    )


def _is_ready(node: Object) -> bool:
    """A node that says nothing about it is taken to be."""
    states = [one["status"] for one in node.get("status", {}).get("conditions") or () if one["type"] == "Ready"]
    return states in ([], ["True"])


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def selected(nodes: Iterable[GpuNode], selector: Mapping[str, str] | None) -> tuple[GpuNode, ...]:
    """The nodes that have all labels of a pod's nodeSelector."""
    wanted = dict(selector or {})
    return tuple(node for node in nodes if wanted.items() <= node.labels.items())


def accelerators(nodes: Iterable[GpuNode], classes: Iterable[GpuClass]) -> tuple[Accelerator, ...]:
    """One for each kind of GPU among the nodes; a node's own labels win over its class. GPUs of unknown memory are left
    out: nothing can be said about them."""
    known = tuple(classes)
    found = (_accelerator(node, class_of(node.product, known)) for node in nodes)
    return tuple(dict.fromkeys(one for one in found if one))


def _accelerator(node: GpuNode, known: GpuClass | None) -> Accelerator | None:
    memory = node.memory_bytes or (known.memory_bytes if known else None)
    if not memory:
        return None
    return Accelerator(
        name=node.product or "GPU",
        memory_bytes=memory,
        compute_capability=node.compute_capability or (known.compute_capability if known else None),
        price_per_hour=known.price_per_hour if known else None,
        watts=known.watts if known else None,
        tflops=known.tflops if known else None,
    )
