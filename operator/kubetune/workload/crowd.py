"""Who holds the CPU, the main memory or the disk that a pod waits for."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.labels import COMPONENT, Component
from kubetune.common.quantity import parse_quantity
from kubetune.common.sentences import sentences
from kubetune.common.units import format_memory

from .misfit import owner_of
from .pods import condition, is_finished

Object = dict[str, Any]

HOLDERS_NAMED = 3
_TOLD = ("cpu", "memory", "ephemeral-storage")


def is_crowd(said: str) -> bool:
    """Whether the scheduler says that CPU, memory or disk is short."""
    return bool(_short(said))


def is_in_crowd(pod: Object) -> bool:
    """Whether that is what the scheduler says of the pod, which has no node."""
    said = condition(pod, "PodScheduled") or {}
    return not pod["spec"].get("nodeName") and said.get("status") == "False" and is_crowd(said.get("message", ""))


def _short(said: str) -> list[str]:
    return [resource for resource in _TOLD if f"Insufficient {resource}" in said]


def explain_crowd(pod_spec: Object, pods: Iterable[Object], said: str) -> Fact:
    """Why a pod waits to which the scheduler ``said`` that CPU, memory or disk is short, with the largest holders among
    ``pods``, ours. Who comes and goes within seconds is not told, as that would have to be written again and again."""
    short = _short(said)
    wanted = " and ".join(_amount(resource, _requested(pod_spec, resource)) for resource in short)
    live = [pod for pod in pods if pod["spec"].get("nodeName") and not is_finished(pod) and not _is_brief(pod)]
    largest = sorted(live, key=lambda pod: (-_requested(pod["spec"], short[0]), owner_of(pod)))[:HOLDERS_NAMED]
    held = ", ".join(f"{owner_of(pod)} ({_amount(short[0], _requested(pod['spec'], short[0]))})" for pod in largest)
    return Fact(
        ConditionStatus.FALSE,
        "Unschedulable",
        sentences(
            f"Waits for {wanted}, which no node has free now",
            f"Of KubeTune's pods these hold most: {held}" if held else "None of KubeTune's own pods holds it",
            "It starts by itself",
        ),
    )


def _is_brief(pod: Object) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(COMPONENT) == Component.PREFLIGHT)


def _requested(pod_spec: Object, resource: str) -> Decimal:
    asked = (one.get("resources", {}).get("requests", {}).get(resource, "0") for one in pod_spec.get("containers", ()))
    return sum(map(parse_quantity, asked), Decimal(0))


def _amount(resource: str, quantity: Decimal) -> str:
    if resource == "memory":
        return f"{format_memory(int(quantity))} of main memory"
    if resource == "ephemeral-storage":
        return f"{format_memory(int(quantity))} of disk"
    return f"{quantity.normalize():f} CPU{'' if quantity == 1 else 's'}"
