"""JSON as people's rows hold it: integers of any length, and no member lost because another has its name. Pure."""

from __future__ import annotations

import json
import sys
from typing import Any

from .malformed import MalformedError

_DIGITS = sys.int_info.default_max_str_digits
"""More than Python turns into an integer, or back into text."""


class LongInteger:
    """An integer of more digits than can be worked with; harmless where nobody needs it."""


def parse(text: str) -> Any:
    """Raises ValueError or RecursionError for what is not JSON, MalformedError for a member that is there twice."""
    return DECODER.decode(text)


def _integer(digits: str) -> int | LongInteger:
    return int(digits) if len(digits) <= _DIGITS else LongInteger()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        for name, value in pairs:
            if made[name] != value:
                raise MalformedError(f"has {name!r} more than once, with different values; keep one")
    return made


DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)
LENIENT = json.JSONDecoder(parse_int=_integer)
"""Finds where a value ends that DECODER refuses."""
