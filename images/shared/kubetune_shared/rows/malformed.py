"""What is wrong with one row, and how values are called in such messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MalformedError(Exception):
    """What is wrong with one row, as the end of a sentence that begins with its position."""


def listed(members: Mapping[str, Any]) -> str:
    """The first of a row's member names."""
    names = list(members)
    return ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def named(value: Any) -> str:
    """What kind of thing a value is, in JSON's words."""
    return {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
    }.get(type(value).__name__, type(value).__name__)


def characters(text: str, name: str) -> str:
    """``text``, when it can be written as UTF-8. Raises MalformedError for half a surrogate pair."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise MalformedError(f"{name} holds {half}, half of a character pair; write the whole character") from None
    return text
