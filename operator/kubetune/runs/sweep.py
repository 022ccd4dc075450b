"""A Job that has ended is deleted with its pods some time after its end is on record, and never before. Pure."""

from __future__ import annotations

from typing import Any

from kubetune.common.decision import Patch, Ref
from kubetune.workload.fingerprint import is_owned_by

Object = dict[str, Any]


def sweep(job: Object | None, owner: str, seconds: int) -> tuple[Patch, ...]:
    """What tells Kubernetes to delete ``job`` that many seconds after its end, for an owner (its uid) whose status
    on record says how it ended. Nothing with 0: then it stays as long as its owner."""
    if job is None or not seconds or is_told(job) or not is_owned_by(job, owner):
        return ()
    metadata = job["metadata"]
    ref = Ref("batch/v1", "Job", metadata["namespace"], metadata["name"])
    # The uid lets a newer Job of that name be refused.
    return (Patch(ref, {"metadata": {"uid": metadata["uid"]}, "spec": {"ttlSecondsAfterFinished": seconds}}),)


def is_told(job: Object) -> bool:
    """Whether nothing has to be said any more."""
    return "ttlSecondsAfterFinished" in job["spec"] or "deletionTimestamp" in job["metadata"]
