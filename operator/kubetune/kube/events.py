"""Kubernetes Events about custom resources, as ``kubectl describe`` shows them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from kubetune.common.decision import Event
from kubetune.common.model import format_time

Object = dict[str, Any]

COMPONENT = "kubetune"
MESSAGE_LIMIT = 1024
"""Bytes the API server takes (core/v1 Event validation)."""


def build_event(regarding: Object, event: Event, now: datetime) -> Object:
    """The object to create; its name follows from reason and time, so that a repeated write is refused."""
    metadata = regarding["metadata"]
    moment = format_time(now)
    seed = f"{metadata['uid']}/{event.reason}/{event.message}/{now.astimezone(UTC).isoformat()}"
    suffix = hashlib.sha256(seed.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": event.message.encode()[:MESSAGE_LIMIT].decode("utf-8", "ignore"),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
