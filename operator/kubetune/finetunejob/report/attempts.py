"""How often a training was started: every pod once, also those that nobody has a record of any more."""

from __future__ import annotations

from typing import Any

from kubetune.finetunejob.api.status_types import POD_LIMIT, FineTuneJobStatus
from kubetune.workload.pods import started_at

Object = dict[str, Any]


def count(old: FineTuneJobStatus, pods: tuple[Object, ...], counted: int) -> dict[str, Any]:
    """``attempts`` and ``pods`` of the new status. ``counted`` is what Job and pods tell now.

    The Job forgets pods that its failure policy ignores, the list of pods forgets those that were deleted. The names
    change only when a pod is new, so that a pod's end costs no write.
    """
    known = old.pods or ()
    present = [pod["metadata"]["name"] for pod in pods if started_at(pod)]
    new = tuple(name for name in present if name not in known)
    before = old.attempts or 0
    # Without names it was written by an operator that kept none: what is present may be counted already.
    attempts = max(before, counted, len(new) if old.pods is None else before + len(new))
    if not new:
        return {"attempts": attempts, "pods": old.pods}
    return {"attempts": attempts, "pods": (*(name for name in known if name in present), *new)[-POD_LIMIT:]}
