"""What is wrong with one row, and how values are called in such messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MalformedError(Exception):
    """What is wrong with one row, as the end of a sentence that begins with its position."""


class MissingError(MalformedError):
    """A cell that the row's shape needs is absent, null or empty: what ``dataset.missing`` decides about."""


def listed(names: Mapping[str, Any]) -> str:
    """The first of a row's member names."""
    found = list(names)
    return ", ".join(repr(name) for name in found[:8]) + (", ..." if len(found) > 8 else "")


def named(value: Any) -> str:
    """What kind of thing a value is, in JSON's words."""
    if isinstance(value, float) and value != value:  # noqa: PLR0124 (only NaN is not itself)
        return "NaN"
    return {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "Decimal": "a number",
        "LongInteger": "a number",
        "Temporal": "a date or time",
        "bytes": "bytes",
    }.get(type(value).__name__, type(value).__name__)


def absent(value: Any) -> bool:
    """Whether a cell holds nothing: null, or the NaN that stands for it in tables."""
    return value is None or named(value) == "NaN"


def characters(text: str, name: str) -> str:
    """``text``, when it can be written as UTF-8. Raises MalformedError for half a surrogate pair."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise MalformedError(f"{name} holds {half}, half of a character pair; write the whole character") from None
    return text
