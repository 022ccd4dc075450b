"""Tools and their calls in OpenAI's form, the arguments of calls as objects, as chat templates want them. Pure.

Null members of objects are taken as not there: libraries whose columns have one type (``datasets``, Parquet) write
every member into every object. Kept is a null in JSON text, and one that the function's definition allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .jsontext import parse
from .malformed import MalformedError, characters, named
from .notes import Notes, Told

_FUNCTION = "an object with type function and function: {name, description, parameters}"
_ARGUMENTS = ("arguments", "parameters", "args", "input")
"""What a call's arguments are called: by OpenAI first, then by others."""
_NULL_IS_MEANT = ("default", "const")
"""Members of a JSON schema of which null is a value."""


def definitions(value: Any, member: str, notes: Notes) -> tuple[dict[str, Any], ...]:
    """A row's tools from a list or its JSON text, in any of the forms in use; empty for null, an empty list or text.

    A bare function (``name``, ``parameters``) is put into ``{"type": "function", "function": ...}``.
    Raises MalformedError.
    """
    found = _list(value, member, "a list of function definitions")
    made = tuple(_definition(number, item, member, notes) for number, item in enumerate(found, 1))
    names = [tool["function"]["name"] for tool in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedError(f"{member} defines {', '.join(twice)} more than once; keep one definition of each")
    if not isinstance(value, str):
        made = tuple(_present(tool, notes, _NULL_IS_MEANT) for tool in made)
    _writable(made, member)
    return made


def calls(  # noqa: PLR0913 (what a call is read against)
    value: Any,
    where: str,
    tools: Iterable[Mapping[str, Any]],
    notes: Notes,
    within: str,
    *,
    as_text: bool = False,
) -> list[dict[str, Any]]:
    """An assistant's calls from a list or its JSON text; empty for null, an empty list or text.

    ``where`` begins the sentence that a MalformedError says; ``tools`` are the row's definitions; ``within`` begins
    the path of members that are not used; ``as_text`` says that the value was JSON text before.
    """
    as_text = as_text or isinstance(value, str)
    found = _list(value, f"{where}: tool_calls", "a list of calls")
    made = [_call(item, f"{where}: tool call {number}", notes, within) for number, item in enumerate(found, 1)]
    for call, item in zip(made, found, strict=True):
        if not as_text and not isinstance(_given(item), str):
            _leave_out_nulls(call["function"], tools, notes)
    _writable(made, where)
    return made


def _call(value: Any, where: str, notes: Notes, within: str) -> dict[str, Any]:
    """One call, bare (``name``, ``arguments``) or with ``function`` around it. Raises MalformedError."""
    if not isinstance(value, Mapping):
        raise MalformedError(f"{where} is {named(value)}, not an object with function: {{name, arguments}}")
    if value.get("type") not in (None, "function"):
        raise MalformedError(f"{where} has the type {value['type']!r}; only functions can be called")
    function = _function(value)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise MalformedError(f"{where} has no name; write function: {{name, arguments}}")
    _note_call(value, function, notes, within)
    made = {"type": "function", "function": {"name": name, "arguments": _arguments(_given(value), where)}}
    identity = value.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MalformedError(f"{where} has {named(identity)} as id, not text")
    return {"id": identity, **made} if identity is not None else made


def _function(value: Mapping[str, Any]) -> Any:
    found = value.get("function")
    return value if found is None else found


def _given(value: Any) -> Any:
    """The arguments as they are written."""
    function = _function(value)
    return next((function[name] for name in _ARGUMENTS if function.get(name) is not None), None)


def _note_call(value: Mapping[str, Any], function: Mapping[str, Any], notes: Notes, within: str) -> None:
    arguments = next((name for name in _ARGUMENTS if function.get(name) is not None), "arguments")
    if function is value:
        notes.beside(value, ("id", "type", "name", arguments), within)
        return
    notes.beside(value, ("id", "type", "function"), within)
    notes.beside(function, ("name", arguments), f"{within}function.")


def _arguments(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = parse(value)
        except (ValueError, RecursionError):
            raise MalformedError(
                f"{where} has arguments that are text but not JSON; write an object, {{}} for a call without any"
            ) from None
    if not isinstance(value, Mapping):
        raise MalformedError(f"{where} has {named(value)} as arguments, not an object of names and values")
    return dict(value)


def _leave_out_nulls(function: dict[str, Any], tools: Iterable[Mapping[str, Any]], notes: Notes) -> None:
    given = function["arguments"]
    named = (tool["function"] for tool in tools if tool["function"]["name"] == function["name"])
    defined: Mapping[str, Any] = next(named, {})
    allowed = [name for name, value in given.items() if value is None and _allows_null(defined, name)]
    function["arguments"] = _present(given, notes, allowed, deep=False)


def _allows_null(function: Mapping[str, Any], argument: str) -> bool:
    properties = (function.get("parameters") or {}).get("properties")
    schema = properties.get(argument) if isinstance(properties, Mapping) else None
    if not isinstance(schema, Mapping):
        return False
    either = [schema, *(one for name in ("anyOf", "oneOf") for one in _options(schema.get(name)))]
    return schema.get("nullable") is True or any(
        one.get("type") == "null" or (isinstance(one.get("type"), list) and "null" in one["type"]) for one in either
    )


def _options(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _present(value: Any, notes: Notes, keep: Iterable[str] = (), *, deep: bool = True) -> Any:
    """Without the null members of objects; those of a name in ``keep`` stay: at every depth, or on top only."""
    if isinstance(value, Mapping):
        left_out = [name for name, member in value.items() if member is None and name not in keep]
        if left_out:
            notes.told.add(Told.NULL_MEMBERS)
        inner = keep if deep else ()
        return {
            name: _present(member, notes, inner, deep=deep) for name, member in value.items() if name not in left_out
        }
    return (
        [_present(item, notes, keep if deep else (), deep=deep) for item in value] if isinstance(value, list) else value
    )


def _definition(number: int, item: Any, member: str, notes: Notes) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise MalformedError(f"{member}: item {number} is {named(item)}, not {_FUNCTION}")
    if item.get("function") is None and "name" in item:
        function: Any = {key: value for key, value in item.items() if key not in ("type", "function")}
    else:
        function = item.get("function")
        notes.beside(item, ("type", "function"), f"{member}[].")
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
            value = parse(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise MalformedError(f"{what} is text that is not JSON; write {wanted}, or leave it out") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(f"{what} is {named(value)}, not {wanted}")
    return value


def _writable(value: Any, where: str) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise MalformedError(
            f"{where} holds a number of too many digits, or what is not JSON; write it as text"
        ) from None
    characters(text, where)
