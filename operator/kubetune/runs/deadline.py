"""``activeDeadlineSeconds`` over suspensions.

Kubernetes sets a Job's startTime anew whenever it is resumed, and its deadline begins again. So the Job's own
``activeDeadlineSeconds``, which may change, is what is left at its last start: it is lowered in the very patch that
suspends, and nothing remains to be remembered. Where somebody else suspends (Kueue), an annotation written while the
Job is active tells since when it was; the patch that lowers the deadline afterwards removes it, so that nothing is
counted twice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from kubetune.common.meta import GROUP
from kubetune.common.model import format_time
from kubetune.common.reasons import Shared
from kubetune.common.units import format_duration
from kubetune.workload.pods import parse_time

from .read import Run

Object = dict[str, Any]

ACTIVE_SINCE = f"{GROUP}/active-since"
LEAST_SECONDS = 1
"""What is left at least: the Job controller takes the deadline from there."""


def left_seconds(job: Object, now: datetime) -> int | None:
    """What the Job may still be active, in whole seconds; None without a deadline."""
    limit: int | None = job["spec"].get("activeDeadlineSeconds")
    if limit is None:
        return None
    return max(LEAST_SECONDS, limit - _since(active_since(job), now))


def used_seconds(job: Object, limit: int | None, now: datetime) -> int | None:
    """What the Job has been active of ``limit``, over all its starts; None without a deadline."""
    due = tracking_body(job) or {}
    spec: Object = due.get("spec") or job["spec"]
    own: int | None = spec.get("activeDeadlineSeconds")
    if own is None or limit is None:
        return None
    return max(0, limit - own) + _since(active_since(job), now)


def active_since(job: Object) -> datetime | None:
    """The Job's last start; None while it is suspended or not begun."""
    if job["spec"].get("suspend"):
        return None
    return parse_time(job.get("status", {}).get("startTime"))


def suspend_body(job: Object, now: datetime) -> Object:
    """The merge patch that suspends the Job and lowers its deadline by what was used."""
    left = left_seconds(job, now)
    return {"spec": {"suspend": True} | ({} if left is None else {"activeDeadlineSeconds": left})}


def tracking_body(job: Object) -> Object | None:
    """The merge patch due to a Job with a deadline that somebody else suspends and resumes; None when none is."""
    limit = job["spec"].get("activeDeadlineSeconds")
    if limit is None:
        return None
    noted = parse_time(job["metadata"].get("annotations", {}).get(ACTIVE_SINCE))
    since = active_since(job)
    if since is not None:
        return None if noted == since else _annotate(format_time(since))
    ended = _suspended_at(job)
    if noted is None or ended is None:
        return None
    return _annotate(None) | {"spec": {"activeDeadlineSeconds": max(LEAST_SECONDS, limit - _since(noted, ended))}}


def explain_deadline(run: Run, job: Object, limit: int | None) -> Run:
    """``run`` with a message about the whole of ``limit``, where that is what has ended it: the Job's own words know
    only what was left of it at its last start."""
    if run.failure is None or run.failure.reason != Shared.DEADLINE_EXCEEDED or limit is None:
        return run
    before = limit - job["spec"].get("activeDeadlineSeconds", limit)
    earlier = f", {format_duration(before)} of it before it was last resumed," if before > 0 else ""
    text = (
        f"It was active for {format_duration(limit)}{earlier} and was stopped: longer than activeDeadlineSeconds "
        f"({limit}) allows. Create it again with more time or less to do."
    )
    failure = run.failure.model_copy(update={"message": text})
    return replace(run, succeeded=replace(run.succeeded, message=text), failure=failure)


def _annotate(value: str | None) -> Object:
    return {"metadata": {"annotations": {ACTIVE_SINCE: value}}}


def _suspended_at(job: Object) -> datetime | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Suspended" and condition["status"] == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _since(start: datetime | None, end: datetime) -> int:
    return max(0, round((end - start).total_seconds())) if start else 0
