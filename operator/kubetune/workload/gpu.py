"""What a pod asks of its node's GPUs: as its user writes it, and as the scheduler reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.pod_options import SHARES_PATTERN, Resources
from kubetune.common.quantity import parse_quantity
from kubetune.common.reasons import Shared
from kubetune.common.units import format_memory
from kubetune.settings import Settings

from .inputs import Problem
from .nodes import MAJOR, MEBIBYTE, MINOR, GpuNode, memory_label

Object = dict[str, Any]

RUNTIME_CLASS = "nvidia"
"""What NVIDIA's toolkit, its GPU operator and k3s call theirs."""
SHARES = re.compile(SHARES_PATTERN)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class Demand:
    """GPUs of one node."""

    resource: str
    count: int
    memory_bytes: int | None = None
    """Least memory of each."""
    compute_capability: tuple[int, int] | None = None
    """Least one, as (major, minor)."""


@dataclass(frozen=True)
class Hardware:
    """What the cluster has for pods with a GPU; the default is that nobody has looked."""

    nodes: tuple[Object, ...] | None = None
    """All nodes; None when they were not looked up or may not be read."""
    runtime_class: str = ""
    """The RuntimeClass that exists for such pods."""


def gpu_resource(asked: Resources, settings: Settings) -> str:
    """Name of the resource that counts the GPUs: a whole one, a MIG slice or a share of its time."""
    return asked.gpu_resource_name or settings.gpu_resource


def check_shares(asked: Resources, settings: Settings) -> Problem | None:
    """What the schema says of a resource that is named holds for the operator's default, too, and for an object that is
    older than that schema."""
    resource = gpu_resource(asked, settings)
    if asked.gpu < 2 or not SHARES.search(resource):
        return None
    whose = "spec.resources.gpuResourceName" if asked.gpu_resource_name else "the operator's default"
    text = (
        f"spec.resources.gpu is {asked.gpu}, but {resource} ({whose}) counts slices or shares of a card, which cannot "
        "work together: set it to 1, or name whole GPUs in spec.resources.gpuResourceName."
    )
    return Problem(Shared.INVALID_SPEC, text)


def demand_of(asked: Resources, settings: Settings, least_bytes: int | None = None) -> Demand | None:
    """``least_bytes`` is known to be needed per GPU whatever the user asks for; None: no GPU is asked for."""
    if not asked.gpu:
        return None
    stated = int(parse_quantity(asked.gpu_memory)) if asked.gpu_memory else 0
    return Demand(
        resource=gpu_resource(asked, settings),
        count=asked.gpu,
        memory_bytes=max(stated, least_bytes or 0) or None,
        compute_capability=parse_capability(asked.compute_capability),
    )


def parse_capability(text: str | None) -> tuple[int, int] | None:
    """``8.6`` as (8, 6)."""
    if not text:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def affinity_of(demand: Demand) -> Object | None:
    """The pod's affinity for nodes whose GPU feature discovery's labels meet the demand; None when any node does.

    Nodes without the labels are left out: what is not known cannot be counted on.
    """
    memory = [_above(memory_label(demand.resource), mebibytes(demand.memory_bytes) - 1)] if demand.memory_bytes else []
    terms = [[*memory, *capability] for capability in _capabilities(demand.compute_capability)]
    if not terms[0]:
        return None
    return {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}}}


def _capabilities(least: tuple[int, int] | None) -> list[list[Object]]:
    """Any of these lists of expressions will do; the terms of an affinity are alternatives."""
    if least is None:
        return [[]]
    major, minor = least
    if minor == 0:
        return [[_above(MAJOR, major - 1)]]
    same = {"key": MAJOR, "operator": "In", "values": [str(major)]}
    return [[_above(MAJOR, major)], [same, _above(MINOR, minor - 1)]]


def _above(label: str, value: int) -> Object:
    return {"key": label, "operator": "Gt", "values": [str(value)]}


def mebibytes(count: int) -> int:
    """Bytes in the labels' unit, rounded up."""
    return -(-count // MEBIBYTE)


def read_demand(pod_spec: Object) -> Demand | None:
    """The demand of a pod of ours, from what the scheduler reads; None when it asks for no GPU."""
    limits = [one.get("resources", {}).get("limits", {}) for one in pod_spec.get("containers", ())]
    extended = [(name, count) for members in limits for name, count in members.items() if "/" in name]
    if not extended:
        return None
    resource, count = extended[0]
    terms = pod_spec.get("affinity", {}).get("nodeAffinity", {}).get(_REQUIRED, {}).get("nodeSelectorTerms", [])
    ours = {memory_label(resource), MAJOR, MINOR}
    expressions = (one for term in terms for one in term.get("matchExpressions", ()) if one["key"] in ours)
    found = {(one["key"], one["operator"]): int(one["values"][0]) for one in expressions}
    memory = found.get((memory_label(resource), "Gt"))
    return Demand(
        resource=resource,
        count=int(count),
        memory_bytes=None if memory is None else (memory + 1) * MEBIBYTE,
        compute_capability=_read_capability(found),
    )


def _read_capability(found: dict[tuple[str, str], int]) -> tuple[int, int] | None:
    if (MAJOR, "In") in found:
        return found[MAJOR, "In"], found[MINOR, "Gt"] + 1
    above = found.get((MAJOR, "Gt"))
    return None if above is None else (above + 1, 0)


def has_memory(node: GpuNode, demand: Demand) -> bool:
    """Whether the node's label promises the memory of each GPU."""
    return demand.memory_bytes is None or mebibytes(demand.memory_bytes) * MEBIBYTE <= (node.memory_bytes or 0)


def has_capability(node: GpuNode, demand: Demand) -> bool:
    """Whether the node's labels promise the compute capability."""
    least, known = demand.compute_capability, parse_capability(node.compute_capability)
    return least is None or (known is not None and known >= least)


def capable(nodes: Iterable[GpuNode], demand: Demand) -> tuple[GpuNode, ...]:
    """The nodes whose labels meet the demand, whether or not they have as many GPUs."""
    return tuple(node for node in nodes if has_memory(node, demand) and has_capability(node, demand))


def describe(demand: Demand) -> str:
    """``2 nvidia.com/gpu of at least 12.0 GiB each and compute capability 8.6``."""
    wishes = []
    if demand.memory_bytes:
        wishes.append(f"at least {format_memory(demand.memory_bytes)}{' each' if demand.count > 1 else ''}")
    if demand.compute_capability:
        wishes.append("compute capability {}.{}".format(*demand.compute_capability))
    return f"{demand.count} {demand.resource}" + (f" of {' and '.join(wishes)}" if wishes else "")
