"""Why no node takes a pod, as nodes, their labels and the pods on them tell; in words a user can act on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.labels import KINDS, MANAGED_BY, MANAGER
from kubetune.common.meta import GROUP
from kubetune.common.pod_options import PodOptions
from kubetune.common.quantity import parse_quantity
from kubetune.common.reasons import Shared
from kubetune.common.units import format_memory

from .gpu import Demand, Hardware, describe, has_capability, has_memory, mebibytes, read_demand
from .nodes import MAJOR, MINOR, GpuNode, all_nodes, gpu_nodes, memory_label
from .pods import is_finished

Object = dict[str, Any]

NODES_NAMED = 5
"""More than a home has; in larger clusters some say enough."""
NEARLY = 0.93
"""A card's memory as its driver counts it is up to so much less than the power of two it is sold by."""
_CONDITION_TAINT = "node.kubernetes.io/"
"""Taints that come and go with a node's health; what is meant for ever has another prefix."""
MISFITS = frozenset({Shared.NO_NODE_WITH_GPU, Shared.NO_SUITABLE_NODE})
"""Reasons for which a pod waits until nodes or their labels change; one that is merely taken is not among them."""
ANY_MEMORY, ANY_CORES = 8 * 1024**3, 2
"""Up to that much no look at the nodes is worth its request: where it is too much, the scheduler says so."""
TOLERATED = f"{GROUP}/gpu-taint-tolerated"
"""Annotation of a Job that gave its place back: whether its pod tolerated a taint of its GPUs' name, "true" or "false".
Admission may add that to pods (ExtendedResourceToleration); whether it does shows on them only."""


def explain_misfit(pod_spec: Object, nodes: Iterable[Object]) -> Fact | None:
    """Why no node can ever take the pod; None when one could."""
    demand, known = read_demand(pod_spec), tuple(nodes)
    offering = gpu_nodes(known, demand.resource) if demand else all_nodes(known, "")
    if demand and not offering:
        return Fact(ConditionStatus.FALSE, Shared.NO_NODE_WITH_GPU, _nobody_offers(demand, known))
    faults = [(node.name, tuple(_faults(node, demand, pod_spec))) for node in offering]
    if not known:
        return _no_nodes(pod_spec)
    if not faults or not all(why for _, why in faults):
        return None
    said = "; ".join(f"{name} {' and '.join(why)}" for name, why in faults[:NODES_NAMED])
    what, advice = (describe(demand), _advice(demand, offering)) if demand else ("the pod", "")
    text = f"No node can take {what}: {said}.{_more(offering)}{advice}"
    return Fact(ConditionStatus.FALSE, Shared.NO_SUITABLE_NODE, text)


def is_choosy(pod_spec: Object) -> bool:
    """Whether the pod asks for more than any node has: only then is it worth a look at the nodes before the scheduler
    has refused it."""
    asks_much = _requested(pod_spec, "memory") > ANY_MEMORY or _requested(pod_spec, "cpu") > ANY_CORES
    return asks_much or bool(pod_spec.get("nodeSelector")) or read_demand(pod_spec) is not None


def is_choosy_spec(options: PodOptions) -> bool:
    """Whether a pod that is not made yet will ask for more than any node has, its GPUs aside."""
    asked = options.resources
    asks_much = parse_quantity(asked.memory) > ANY_MEMORY or parse_quantity(asked.cpu) > ANY_CORES
    return asks_much or bool(options.node_selector)


def _no_nodes(pod_spec: Object) -> Fact | None:
    """A cluster that makes its nodes when they are asked for has none at times; what is asked for is told all the
    same."""
    asked = [f"{key}={value} (spec.nodeSelector)" for key, value in (pod_spec.get("nodeSelector") or {}).items()]
    for resource, usual in (("memory", ANY_MEMORY), ("cpu", ANY_CORES)):
        if _requested(pod_spec, resource) > usual:
            asked.append(f"spec.resources.{resource} {_written(pod_spec, resource)}")
    if not asked:
        return None
    text = f"The cluster has no node yet. One is needed with {' and '.join(asked)}."
    return Fact(ConditionStatus.FALSE, Shared.NO_SUITABLE_NODE, text)


def is_misfit(fact: Fact | None) -> bool:
    """Whether the fact says that no node can ever take the pod."""
    return fact is not None and fact.reason in MISFITS


def expect_placement(pod_spec: Object, hardware: Hardware, *, tolerated: bool = True) -> Fact | None:
    """Why no node can ever take a pod that is about to be made; None when one could.

    ``tolerated``: admission may add the toleration of a taint of its GPUs' name (ExtendedResourceToleration).
    """
    demand = read_demand(pod_spec)
    if hardware.nodes is None:
        return None
    added = [{"key": demand.resource, "operator": "Exists"}] if demand and tolerated else []
    tolerations = [*pod_spec.get("tolerations", ()), *added]
    return explain_misfit({**pod_spec, "tolerations": tolerations}, hardware.nodes)


def tolerates_its_gpu(pod_spec: Object) -> bool:
    """Whether the pod stands a taint of its GPUs' name."""
    demand = read_demand(pod_spec)
    return demand is not None and _is_tolerated({"key": demand.resource}, pod_spec.get("tolerations") or ())


def explain_taken(pod_spec: Object, nodes: Iterable[Object], pods: Iterable[Object]) -> Fact | None:
    """Who holds the GPUs that the pod waits for, of what ``pods`` shows; None when the pod asks for none."""
    demand = read_demand(pod_spec)
    if demand is None:
        return None
    places = [node for node in gpu_nodes(nodes, demand.resource) if not any(_faults(node, demand, pod_spec))]
    holders = _holders(demand.resource, pods)
    said = "; ".join(_occupancy(node, holders.get(node.name, {})) for node in places[:NODES_NAMED])
    text = f"Waits for {describe(demand)}, which no node has free now: {said}.{_more(places)} It starts by itself."
    return Fact(ConditionStatus.FALSE, Shared.UNSCHEDULABLE, text)


def _nobody_offers(demand: Demand, nodes: Sequence[Object]) -> str:
    text = (
        f"No node offers {demand.resource}: install the GPU's device plugin on a node that has one, or set "
        "spec.resources.gpu to 0 to run on the CPU."
    )
    allocatable = {node["metadata"]["name"]: node.get("status", {}).get("allocatable") or {} for node in nodes}
    silent = [name for name, offers in allocatable.items() if demand.resource in offers]
    if silent:
        text += f" {', '.join(silent[:NODES_NAMED])} had it, but has none that works now: see to its driver and plugin."
    vendor = demand.resource.partition("/")[0] + "/"
    others = {key: name for name, offers in allocatable.items() for key in offers if key.startswith(vendor)}
    for resource in sorted(others.keys() - {demand.resource})[:NODES_NAMED]:
        text += f" {others[resource]} offers {resource}: ask for it by spec.resources.gpuResourceName."
    return text


def _faults(node: GpuNode, demand: Demand | None, pod_spec: Object) -> Iterable[str]:
    """What keeps the node from ever taking the pod, in the words that follow its name."""
    selector: dict[str, str] = pod_spec.get("nodeSelector") or {}
    lacking = [f"{key}={value}" for key, value in selector.items() if node.labels.get(key) != value]
    if lacking:
        yield f"is not {', '.join(lacking)} (spec.nodeSelector)"
    for taint in node.taints:
        if not _is_tolerated(taint, pod_spec.get("tolerations") or ()):
            yield f"has the taint {taint['key']}, which spec.tolerations does not name"
    if demand:
        yield from _faults_of_gpus(node, demand)
    memory, cores = _requested(pod_spec, "memory"), _requested(pod_spec, "cpu")
    if node.main_memory_bytes is not None and memory > node.main_memory_bytes:
        has = format_memory(node.main_memory_bytes)
        asked = _written(pod_spec, "memory")
        yield f"has {has} of main memory for pods, and spec.resources.memory asks for {asked}"
    if node.cores is not None and cores > node.cores:
        yield f"has {node.cores.normalize():f} CPUs for pods, and spec.resources.cpu asks for {cores.normalize():f}"
    disk = _requested(pod_spec, "ephemeral-storage")
    if node.disk_bytes is not None and disk > node.disk_bytes:
        has, asked = format_memory(node.disk_bytes), format_memory(int(disk))
        yield f"has {has} of disk for pods, and the pod asks for {asked} of scratch space (spec.resources.scratch)"


def _requested(pod_spec: Object, resource: str) -> Decimal:
    asked = (one.get("resources", {}).get("requests", {}).get(resource, "0") for one in pod_spec.get("containers", ()))
    return sum(map(parse_quantity, asked), Decimal(0))


def _written(pod_spec: Object, resource: str) -> str:
    """The amount as its user wrote it; CPUs as a number, for the API server makes 4k of 4000."""
    if resource == "cpu":
        return f"{_requested(pod_spec, resource).normalize():f}"
    asked = (one.get("resources", {}).get("requests", {}).get(resource, "") for one in pod_spec.get("containers", ()))
    return " and ".join(filter(None, asked))


def _faults_of_gpus(node: GpuNode, demand: Demand) -> Iterable[str]:
    if node.gpus < demand.count:
        yield f"has {node.gpus}, and the GPUs of a pod are all of one node"
    if not has_memory(node, demand):
        known = node.memory_bytes
        yield f"has {format_memory(known)}" if known else f"has no label {memory_label(demand.resource)}"
    if not has_capability(node, demand):
        known_capability = node.compute_capability
        yield f"has capability {known_capability}" if known_capability else f"has no labels {MAJOR} and {MINOR}"


def _is_tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    """By the rules of the scheduler, but for taints that pass."""
    if taint.get("effect") == "PreferNoSchedule" or taint["key"].startswith(_CONDITION_TAINT):
        return True
    return any(
        one.get("key") in (None, "", taint["key"])
        and one.get("effect") in (None, "", taint.get("effect"))
        and (one.get("operator") == "Exists" or one.get("value", "") == taint.get("value", ""))
        for one in tolerations
    )


def _advice(demand: Demand, offering: Sequence[GpuNode]) -> str:
    """What would help against the faults of labels."""
    text = ""
    label = memory_label(demand.resource)
    blind = [node.name for node in offering if node.memory_bytes is None]
    if demand.memory_bytes and blind:
        text += (
            " Install NVIDIA GPU feature discovery, which labels nodes, or label them by hand: kubectl label node "
            f"{blind[0]} {label}=<MiB that nvidia-smi shows>"
        )
    unknown = [node.name for node in offering if node.compute_capability is None]
    if demand.compute_capability and unknown:
        text += (
            " GPU feature discovery tells the capability, too; by hand, 8.6 for example is: kubectl label node "
            f"{unknown[0]} {MAJOR}=8 {MINOR}=6"
        )
    largest = max((node.memory_bytes or 0 for node in offering), default=0)
    if demand.memory_bytes and NEARLY * demand.memory_bytes <= largest < demand.memory_bytes:
        text += f" A driver counts less than a card is sold with; {mebibytes(largest)}Mi would do."
    return text


def _more(nodes: Sequence[GpuNode]) -> str:
    return f" {len(nodes) - NODES_NAMED} more nodes are no better." if len(nodes) > NODES_NAMED else ""


def _holders(resource: str, pods: Iterable[Object]) -> dict[str, dict[str, int]]:
    """Node -> who -> GPUs."""
    found: dict[str, dict[str, int]] = {}
    for pod in pods:
        demand, node = read_demand(pod["spec"]), pod["spec"].get("nodeName")
        if node and demand and demand.resource == resource and not is_finished(pod):
            on_node = found.setdefault(node, {})
            who = owner_of(pod)
            on_node[who] = on_node.get(who, 0) + demand.count
    return found


def owner_of(pod: Object) -> str:
    """Who the pod is for, as people know it."""
    metadata = pod["metadata"]
    labels = metadata.get("labels", {})
    for label, kind in KINDS.items():
        name = labels.get(f"{GROUP}/{label}")
        if name and labels.get(MANAGED_BY) == MANAGER:
            return f"{kind} {metadata['namespace']}/{name}"
    return f"pod {metadata['namespace']}/{metadata['name']}"


def _occupancy(node: GpuNode, holders: dict[str, int]) -> str:
    if node.is_cordoned:
        return f"{node.name} is cordoned (kubectl uncordon {node.name})"
    if not node.is_ready:
        return f"{node.name} is not ready"
    said = [f"{who} ({count})" for who, count in sorted(holders.items())]
    rest = node.gpus - sum(holders.values())
    if rest > 0:
        said.append(f"others or nobody ({rest})")
    return f"{node.name} has {node.gpus}, held by {', '.join(said)}"
