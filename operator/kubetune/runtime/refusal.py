"""The status of a custom resource that cannot be carried out at all, for any kind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kubetune.common.conditions import Condition, ConditionStatus, get_condition, set_condition
from kubetune.common.decision import Decision, Event
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.common.wording import explain_refusal, in_our_words, refusal_reason
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import MODELDEPLOYMENT

Object = dict[str, Any]

SLOW_SECONDS = 60.0
"""Quotas and permissions are changed by people; asking more often only fills logs."""
_CONDITIONS = TypeAdapter(tuple[Condition, ...])


def refuse_unreadable(raw: Object, error: ValidationError, now: datetime) -> Decision:
    """The object does not fit this operator's API types: stored under another version of the CRD."""
    problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
    return _refuse(raw, Shared.INVALID_SPEC, f"The object does not fit this operator's API: {problems}", now)


def refuse_by_server(raw: Object, error: ApiError, now: datetime, what: str = "") -> Decision:
    """The API server refuses a child: quota, permission, policy (403) or the child itself (400, 422). ``what`` says
    first which one, where that is not plain."""
    if error.is_invalid:
        text = f"The API server refuses what follows from this spec: {in_our_words(error.message)}"
        return _refuse(raw, Shared.INVALID_SPEC, sentences(what, text), now)
    text = explain_refusal(error.message)
    return _refuse(raw, refusal_reason(text), sentences(what, text), now)


def _refuse(raw: Object, reason: str, message: str, now: datetime) -> Decision:
    stored = raw.get("status") or {}
    generation = raw["metadata"].get("generation", 0)
    try:
        old = _CONDITIONS.validate_python(stored.get("conditions", ()))
    except ValidationError:
        old = ()
    conditions = set_condition(old, "Accepted", False, reason, message, now=now, generation=generation)
    # The summary, whose reason `kubectl get` shows. What serves already may go on, so Ready stays what it is; and
    # so does the end of what has ended.
    summary = "Ready" if raw.get("kind") == MODELDEPLOYMENT.kind else "Succeeded"
    known = get_condition(old, summary)
    if not stored.get("completionTime") and (known is None or known.status is not ConditionStatus.TRUE):
        state = ConditionStatus.FALSE if summary == "Ready" else ConditionStatus.UNKNOWN
        conditions = set_condition(conditions, summary, state, reason, message, now=now, generation=generation)
    status = {
        **stored,
        "observedGeneration": generation,
        "phase": stored.get("phase", "Pending"),
        "conditions": [condition.to_dict() for condition in conditions],
    }
    had = next((condition.reason for condition in old if condition.type == "Accepted"), None)
    events = (Event(reason, message, warning=True),) if had != reason else ()
    return Decision(status=status, events=events, requeue_after=SLOW_SECONDS)
