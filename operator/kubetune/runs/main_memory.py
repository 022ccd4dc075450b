"""Pods that were killed for want of main memory: what killed two in a row kills the next, so there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubetune.common.job_status import Failure
from kubetune.common.reasons import Shared
from kubetune.workload.explain import explain_failure
from kubetune.workload.job import is_ignored

Object = dict[str, Any]

KILLED = 137
"""Exit code of a container that the kernel has killed."""


def is_out_of_main_memory(failure: Failure | None) -> bool:
    """Whether the container was killed by its memory limit; what ran out of a GPU's memory has another exit code."""
    return failure is not None and failure.reason == Shared.OUT_OF_MEMORY and failure.exit_code == KILLED


def fewer_tries(job: Object, pods: Iterable[Object], main: str) -> Object | None:
    """The merge patch that ends the Job once its two newest failures are such deaths; None when none is due.

    One alone takes nothing away: whatever else happens to the next try has the tries that it would have had.
    """
    limit = job["spec"].get("backoffLimit", 0)
    dead = sorted((pod for pod in pods if _counts(pod)), key=lambda pod: pod["metadata"]["creationTimestamp"])
    deaths = [is_out_of_main_memory(explain_failure(pod, main)) for pod in dead]
    if deaths[-2:] != [True, True]:
        return None
    allowed = max(len(dead), job.get("status", {}).get("failed", 0)) - 1
    return {"spec": {"backoffLimit": allowed}} if allowed < limit else None


def _counts(pod: Object) -> bool:
    """Whether the pod is a failure that counts against backoffLimit."""
    return pod.get("status", {}).get("phase") == "Failed" and not is_ignored(pod)
