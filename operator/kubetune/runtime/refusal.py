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


def refuse_by_server(
    raw: Object, error: ApiError, now: datetime, what: str = "", decided: Object | None = None
) -> Decision:
    """The API server refuses a child: quota, permission, policy (403) or the child itself (400, 422). ``what`` says
    first which one, where that is not plain. ``decided`` is the status that the refusal is laid over."""
    if error.is_invalid:
        text = f"The API server refuses what follows from this spec: {in_our_words(error.message)}"
        return _refuse(raw, Shared.INVALID_SPEC, sentences(what, text), now, decided)
    text = explain_refusal(error.message)
    return _refuse(raw, refusal_reason(text), sentences(what, text), now, decided)


def _refuse(raw: Object, reason: str, message: str, now: datetime, decided: Object | None = None) -> Decision:
    stored = raw.get("status") or {}
    generation = raw["metadata"].get("generation", 0)
    is_deployment = raw.get("kind") == MODELDEPLOYMENT.kind
    # A deployment's status tells what its children were told, and that of what has ended which Evaluation was made;
    # neither has happened.
    base = stored if decided is None or is_deployment or "completionTime" in stored else decided
    summary = "Ready" if is_deployment else "Succeeded"
    old = _conditions(stored)
    before = {one.type: one for one in old if one.type in {"Accepted", summary}}
    shown = tuple(before.get(one.type, one) for one in _conditions(base))
    conditions = set_condition(shown, "Accepted", False, reason, message, now=now, generation=generation)
    # The summary, whose reason `kubectl get` shows. What serves already may go on, so Ready stays what it is; and
    # so does the end of what has ended.
    known = get_condition(shown, summary)
    if not base.get("completionTime") and (known is None or known.status is not ConditionStatus.TRUE):
        state = ConditionStatus.FALSE if summary == "Ready" else ConditionStatus.UNKNOWN
        conditions = set_condition(conditions, summary, state, reason, message, now=now, generation=generation)
    status = {
        **base,
        "observedGeneration": generation,
        "phase": base.get("phase", "Pending"),
        "conditions": [condition.to_dict() for condition in conditions],
    }
    had = next((condition.reason for condition in old if condition.type == "Accepted"), None)
    events = (Event(reason, message, warning=True),) if had != reason else ()
    return Decision(status=status, events=events, requeue_after=SLOW_SECONDS)


def _conditions(status: Object) -> tuple[Condition, ...]:
    try:
        return _CONDITIONS.validate_python(status.get("conditions", ()))
    except ValidationError:
        return ()
