"""What about a child is worth a look: everything but what changes on its own or means nothing to us."""

from __future__ import annotations

from typing import Any

from kubetune.common.meta import GROUP

Object = dict[str, Any]

_STATUS_NOISE = {
    # Job: counts that the pods' own Events tell better.
    "active",
    "ready",
    "terminating",
    "uncountedTerminatedPods",
    "startTime",
    # Pod: where it is, which the spec says, too.
    "hostIP",
    "hostIPs",
    "podIPs",
    "qosClass",
    "observedGeneration",
}
_ENTRY_NOISE = {"lastTransitionTime", "lastProbeTime", "lastUpdateTime", "observedGeneration"}
_BLANK: Object = {"phase": "Pending"}
_PASSING = {"progress", "cost", "recovery", "suggestions", "activeSeconds"}
"""Members of the status of a custom resource that change while it runs."""
_KEPT_IN_STEP = {"Deployment", "Service"}
"""What somebody may change by hand and we put right; the spec of the others cannot change, but for what is named."""


def digest(obj: Object) -> int:
    """Equal for two states of an object between which nothing of interest has changed."""
    metadata = obj["metadata"]
    seen = (
        "deletionTimestamp" in metadata,
        tuple(item for item in sorted(metadata.get("annotations", {}).items()) if item[0].startswith(f"{GROUP}/")),
        obj.get("spec", {}).get("suspend"),
        obj.get("spec", {}).get("nodeName"),
        obj.get("spec") if obj.get("kind") in _KEPT_IN_STEP else None,
        _telling(obj.get("status") or {}),
    )
    return hash(repr(seen))


def is_blank(obj: Object) -> bool:
    """Whether nothing has happened to the object since its creation; for the decision it might as well not exist."""
    is_placed = bool(obj.get("spec", {}).get("nodeName")) or "deletionTimestamp" in obj["metadata"]
    return not is_placed and _telling(obj.get("status") or {}) in ({}, _BLANK)


def shown_to_others(obj: Object) -> int:
    """Equal for two states of a custom resource between which nothing has changed for those that refer to it.

    How far it is, what it costs so far and what it is doing this moment is nothing to them; how it has ended is.
    """
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = [
        (entry["type"], entry["status"], (entry["reason"], entry["message"]) if entry["status"] == "False" else None)
        for entry in status.get("conditions", ())
    ]
    lasting = {key: value for key, value in status.items() if key not in _PASSING and key != "conditions"}
    seen = ("deletionTimestamp" in metadata, metadata.get("generation"), conditions, lasting)
    return hash(repr(seen))


def _telling(status: Object) -> Object:
    telling = {key: value for key, value in status.items() if key not in _STATUS_NOISE}
    if "conditions" in telling:
        telling["conditions"] = [
            {key: value for key, value in entry.items() if key not in _ENTRY_NOISE} for entry in telling["conditions"]
        ]
    return telling
