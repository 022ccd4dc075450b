"""Status conditions in the shape of metav1.Condition."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from .doubt import clip
from .model import ApiModel, Timestamp

MESSAGE_LIMIT = 4096
"""Characters of a condition's message; longer ones are cut, because the API server would refuse the whole status."""


class ConditionStatus(enum.StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of how far the object is."""

    type: str = Field(min_length=1, max_length=316)
    """What the condition is about; True is good."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: str = Field(min_length=1, max_length=1024)
    """One CamelCase word for programs."""
    message: str = Field(max_length=MESSAGE_LIMIT)
    """A sentence for people: what is the case and what to do about it."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: int | None = Field(default=None, ge=0)
    """The `metadata.generation` the condition was computed from."""


def get_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, None when there is none."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition of that type exists and holds."""
    condition = get_condition(conditions, type_)
    return condition is not None and condition.status is ConditionStatus.TRUE


def set_condition(  # noqa: PLR0913 - the members of a condition
    conditions: Iterable[Condition],
    type_: str,
    status: ConditionStatus | bool,
    reason: str,
    message: str,
    *,
    now: datetime,
    generation: int,
) -> tuple[Condition, ...]:
    """The conditions with one added or replaced in place; its transition time is kept while its status is unchanged."""
    if isinstance(status, bool):
        status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
    current = tuple(conditions)
    old = get_condition(current, type_)
    new = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=clip(message, MESSAGE_LIMIT),
        last_transition_time=old.last_transition_time if old and old.status is status else now.replace(microsecond=0),
        observed_generation=generation,
    )
    if old is None:
        return (*current, new)
    return tuple(new if condition is old else condition for condition in current)


@dataclass(frozen=True)
class Fact:
    """The content of a condition."""

    status: ConditionStatus
    reason: str
    message: str
