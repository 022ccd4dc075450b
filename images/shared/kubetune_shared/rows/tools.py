"""Tools and their calls in OpenAI's form, the arguments of calls as objects, as chat templates want them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .malformed import MalformedError, characters, named

_FUNCTION = "an object with type function and function: {name, description, parameters}"


def definitions(value: Any, member: str = "tools") -> tuple[dict[str, Any], ...]:
    """A row's tools from a list or its JSON text, in any of the forms in use; empty for null, an empty list or text.

    A bare function (``name``, ``parameters``) is put into ``{"type": "function", "function": ...}``.
    Raises MalformedError.
    """
    found = _list(value, member, "a list of function definitions")
    made = tuple(_definition(number, item, member) for number, item in enumerate(found, 1))
    names = [tool["function"]["name"] for tool in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedError(f"{member} defines {', '.join(twice)} more than once; keep one definition of each")
    _writable(made, member)
    return made


def calls(value: Any, where: str) -> list[dict[str, Any]]:
    """An assistant's calls from a list or its JSON text; empty for null, an empty list or text.

    ``where`` begins the sentence that a MalformedError says.
    """
    found = _list(value, f"{where}: tool_calls", "a list of calls")
    made = [call(item, f"{where}: tool call {number}") for number, item in enumerate(found, 1)]
    _writable(made, where)
    return made


def call(value: Any, where: str) -> dict[str, Any]:
    """One call, bare (``name``, ``arguments``) or with ``function`` around it. Raises MalformedError."""
    if not isinstance(value, Mapping):
        raise MalformedError(f"{where} is {named(value)}, not an object with function: {{name, arguments}}")
    if value.get("type") not in (None, "function"):
        raise MalformedError(f"{where} has the type {value['type']!r}; only functions can be called")
    function = value.get("function", value)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise MalformedError(f"{where} has no name; write function: {{name, arguments}}")
    made = {"type": "function", "function": {"name": name, "arguments": _arguments(function.get("arguments"), where)}}
    identity = value.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MalformedError(f"{where} has {named(identity)} as id, not text")
    return {"id": identity, **made} if identity is not None else made


def _arguments(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise MalformedError(
                f"{where} has arguments that are text but not JSON; write an object, {{}} for a call without any"
            ) from None
    if not isinstance(value, Mapping):
        raise MalformedError(f"{where} has {named(value)} as arguments, not an object of names and values")
    return dict(value)


def _definition(number: int, item: Any, member: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise MalformedError(f"{member}: item {number} is {named(item)}, not {_FUNCTION}")
    if "function" not in item and "name" in item:
        function: Any = {key: value for key, value in item.items() if key != "type"}
    else:
        function = item.get("function")
    if item.get("type") not in (None, "function"):
        raise MalformedError(f"{member}: item {number} has the type {item['type']!r}; only functions can be called")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise MalformedError(f"{member}: item {number} has no function name; write {_FUNCTION}")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise MalformedError(f"{member}: {name} has {named(parameters)} as parameters, not a JSON schema (an object)")
    return {"type": "function", "function": dict(function)}


def _list(value: Any, what: str, wanted: str) -> list[Any]:
    if isinstance(value, str):
        # CSV, and datasets whose columns need one type, hold it as text.
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise MalformedError(f"{what} is text that is not JSON; write {wanted}, or leave it out") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(f"{what} is {named(value)}, not {wanted}")
    return value


def _writable(value: Any, where: str) -> None:
    characters(json.dumps(value, ensure_ascii=False), where)
