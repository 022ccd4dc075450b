"""JSON codec for the contract's dataclasses: camelCase on the wire, snake_case in Python.

Reading is strict about what it knows and blind to what it does not: unknown members are ignored (an older image
meets a newer operator during a rollout), while a wrong type, a missing member or an unknown enum value is refused
with the path of the member.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from .errors import ContractError

T = TypeVar("T")


def camel(name: str) -> str:
    """``num_train_epochs`` -> ``numTrainEpochs``."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def to_json(value: Any) -> Any:
    """The JSON-able form of a contract value; members that are ``None`` are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((camel(f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_json(member) for name, member in pairs if member is not None}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(member) for member in value]
    return value


def dumps(value: Any) -> str:
    """Canonical text: sorted members, no white space, so that equal values give equal digests."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(kind: type[T], data: Any, path: str = "") -> T:
    """Builds dataclass ``kind`` from parsed JSON.

    Raises ContractError naming the member's path when it is missing, of the wrong type or of an unknown value.
    """
    if not isinstance(data, Mapping):
        raise ContractError(path or "$", f"must be an object, is {_name(data)}")
    hints = _hints(typing.cast(Any, kind))
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, kind)):
        member = camel(field.name)
        where = f"{path}.{member}" if path else member
        if data.get(member) is not None:
            arguments[field.name] = _read(hints[field.name], data[member], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError(where, "is required")
    return kind(**arguments)


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    """Types of the members. To evaluate the annotations takes ten times as long as to read a value."""
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return _read(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ContractError(path, f"must be a list, is {_name(value)}")
        return tuple(_read(arguments[0], member, f"{path}[{i}]") for i, member in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ContractError(path, f"must be an object, is {_name(value)}")
        return {str(k): _read(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _read_enum(hint, value, path)
    return _read_scalar(hint, value, path)


def _read_enum(hint: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    try:
        return hint(value)
    except ValueError:
        known = ", ".join(str(member.value) for member in hint)
        raise ContractError(path, f"is {value!r}; known values are {known}") from None


def _read_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        # JSON can escape half of a surrogate pair, which no one who writes it down as UTF-8 can take.
        return value.encode("utf-8", "replace").decode("utf-8")
    # bool is a subclass of int in Python; a flag where a number belongs is a mistake all the same.
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ContractError(path, f"must be {hint.__name__}, is {_name(value)}")


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__
