"""Reading pods as the kubelet describes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

Object = dict[str, Any]


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API server."""
    return datetime.fromisoformat(text) if text else None


def newest(pods: Iterable[Object]) -> Object | None:
    """The pod created last, or None when there is no pod."""
    return max(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", _name(pod)), default=None)


def _name(pod: Object) -> str:
    name: str = pod["metadata"]["name"]
    return name


def is_finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def started_at(pod: Object) -> datetime | None:
    """When the kubelet took the pod over; None while no node has it."""
    return parse_time(pod.get("status", {}).get("startTime"))


def container_statuses(pod: Object) -> list[Object]:
    """Init containers first, in the order in which they run."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def container_state(pod: Object, name: str) -> Object:
    """``{"waiting": ...}``, ``{"running": ...}`` or ``{"terminated": ...}``; empty when nothing is known yet."""
    for status in container_statuses(pod):
        if status["name"] == name:
            state: Object = status.get("state") or {}
            return state
    return {}


def termination_message(pod: Object, name: str) -> str | None:
    """What the container left behind, None when it is still running or left nothing."""
    terminated = container_state(pod, name).get("terminated") or {}
    return terminated.get("message") or None


def condition(pod: Object, type_: str) -> Object | None:
    """The pod's condition of that type."""
    for entry in pod.get("status", {}).get("conditions", ()):
        if entry["type"] == type_:
            found: Object = entry
            return found
    return None
