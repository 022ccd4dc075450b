"""The Job around a pod template: when it is tried again and when not."""

from __future__ import annotations

from typing import Any

from kubetune.common.pod_options import JobOptions
from kubetune_contract import PERMANENT, ExitCode

from .fingerprint import stamp
from .pods import condition, container_statuses

Object = dict[str, Any]

_REPLACED = (int(ExitCode.PREEMPTED), int(ExitCode.SUPERSEDED))
"""Exit codes of pods that have not failed: they were asked to stop, or a newer one took over."""


def build_job(metadata: Object, template: Object, options: JobOptions, *, ttl_seconds: int | None = None) -> Object:
    """A stamped Job with one pod at a time; ``metadata`` brings name, namespace, labels and the owner's reference.

    ``ttl_seconds`` after its end it is deleted with its pods; None keeps it as long as its owner.
    """
    spec: Object = {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": options.backoff_limit,
        "suspend": options.suspend,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": template,
    }
    if options.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = options.active_deadline_seconds
    if ttl_seconds is not None:
        spec["ttlSecondsAfterFinished"] = ttl_seconds
    return stamp({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


def is_ignored(pod: Object) -> bool:
    """Whether the rules below leave a failed pod out of the Job's count: it is replaced, whatever backoffLimit says."""
    disrupted = condition(pod, "DisruptionTarget") or {}
    codes = {(status.get("state") or {}).get("terminated", {}).get("exitCode") for status in container_statuses(pod)}
    return disrupted.get("status") == "True" or not codes.isdisjoint(_REPLACED)


def _failure_rules() -> list[Object]:
    """First match wins. A rule without a container's name applies to init containers, too."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "Ignore",
            "onExitCodes": {"operator": "In", "values": list(_REPLACED)},
        },
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": sorted(int(code) for code in PERMANENT)}},
    ]
