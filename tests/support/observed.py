"""Jobs and pods as the API server returns them, with only what is told."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

OWNER = "owner-uid"
TIME = "2026-01-01T00:00:00Z"


def job(
    name: str = "demo-train",
    *,
    final: str = "",
    reason: str = "",
    suspend: bool = False,
    failed: int = 0,
    succeeded: int = 0,
    **spec: Any,
) -> Object:
    """``final`` is Complete or Failed; further keywords go to the Job's spec."""
    status: Object = {key: n for key, n in (("failed", failed), ("succeeded", succeeded)) if n}
    if final:
        condition = {"type": final, "status": "True", "reason": reason, "message": "", "lastTransitionTime": TIME}
        status["conditions"] = [condition]
    reference = {"apiVersion": "kubetune.io/v1alpha1", "kind": "FineTuneJob", "name": "demo", "uid": OWNER}
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": name,
        "ownerReferences": [reference | {"controller": True}],
    }
    return {"metadata": metadata, "spec": {"suspend": suspend, "backoffLimit": 3, **spec}, "status": status}


def pod(
    name: str = "p1",
    *,
    phase: str = "Pending",
    node: str = "",
    started: bool = False,
    ip: str = "",
    created: str = TIME,
    init: dict[str, Object] | None = None,
    containers: dict[str, Object] | None = None,
    **status: Any,
) -> Object:
    """``init`` and ``containers`` map names to states; further keywords go to the pod's status."""
    shown: Object = {"phase": phase, **status}
    if started:
        shown["startTime"] = created
    if ip:
        shown["podIP"] = ip
    for member, states in (("initContainerStatuses", init), ("containerStatuses", containers)):
        if states:
            shown[member] = [{"name": key, "image": "image", "state": state} for key, state in states.items()]
    spec: Object = {"nodeName": node} if node else {}
    metadata = {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": created}
    return {"metadata": metadata, "spec": spec, "status": shown}


def waiting(reason: str, message: str) -> Object:
    return {"waiting": {"reason": reason, "message": message}}
