"""Values for the fields of the API and of the contract, by their types: a new field needs no new fixture."""

from __future__ import annotations

import dataclasses
import enum
import typing
from typing import Any, cast

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from kubetune.common.model import ApiModel


def _plain(hint: Any) -> Any:
    """The type without None."""
    return next((kind for kind in typing.get_args(hint) if kind is not type(None)), hint)


def _bounds(field: FieldInfo, high: float) -> tuple[float, float]:
    """Lowest and highest value, the latter at most ``high``; what has to lie above a bound begins a little above it."""
    low = 0.0
    for one in field.metadata:
        if isinstance(one, Ge):
            low = max(low, float(cast(float, one.ge)))
        if isinstance(one, Gt):
            low = max(low, float(cast(float, one.gt)) + 1e-6)
        if isinstance(one, Lt):
            high = min(high, float(cast(float, one.lt)) - 1e-6)
        if isinstance(one, Le):
            high = min(high, float(cast(float, one.le)))
    return low, high


def values(field: FieldInfo) -> st.SearchStrategy[Any]:
    """What the field takes, but None, away from the ends of its range."""
    kind = _plain(field.annotation)
    low, high = _bounds(field, 512)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(max(int(low), 8), int(high))
    if kind is float:
        return st.floats(low, high)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    raise LookupError(f"name values for a field of type {kind}")


def unlike_default(kind: type[ApiModel], known: dict[str, Any]) -> dict[str, Any]:
    """``known``, in the YAML spelling, and a value for every further member of ``kind`` that has a plain type."""
    found = dict(known)
    for name, field in kind.model_fields.items():
        alias = field.alias or name
        if alias not in found:
            found[alias] = True if _plain(field.annotation) is bool else _least(field)
    return found


def _least(field: FieldInfo) -> Any:
    low, high = _bounds(field, 512)
    return _plain(field.annotation)((low + high) / 2)


def every_member(value: Any) -> Any:
    """A dataclass of the contract in which no member is unset or has its default: those that are get another value of
    their type."""
    hints = typing.get_type_hints(type(value))
    changed = {
        field.name: _other(_plain(hints[field.name]), field.default)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) == field.default
    }
    return dataclasses.replace(value, **changed)


def _other(kind: Any, default: Any) -> Any:
    return (not default) if kind is bool else kind((default or 0) + 1)


def beyond_defaults(value: Any) -> dict[str, Any]:
    """The members of a contract dataclass that are not at their default."""
    given = ((field.name, getattr(value, field.name), field.default) for field in dataclasses.fields(value))
    return {name: member for name, member, default in given if member != default}
