"""What pods, Events and objects of other releases say is doubted here, and nowhere else.

A pod's image may be of another release, or somebody else's; nothing that it says may stop its object's reconcile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from kubetune_contract import Contents, ContractError, from_json

T = TypeVar("T")
R = TypeVar("R")

_DOUBTED = (ValueError, TypeError, ArithmeticError, OSError, RecursionError, ContractError)
"""What reading and converting raise for text that is no JSON, members that are not there, and figures that cannot be:
a time in the year 10^300, a count below 0, a word that is too long."""
_CONTENT = re.compile("(manifest|files):[0-9a-f]{64}|commit:[0-9a-f]{40,64}")


def attempt(convert: Callable[[T], R], said: T) -> R | None:
    """``convert(said)``; None when it cannot be."""
    try:
        return convert(said)
    except _DOUBTED:
        return None


def read(kind: type[T], text: str | None) -> T | None:
    """``text`` as one of the contract's types; None when there is none or it says something else.

    A member that cannot be read and may be absent is left out: a training is worth more than a figure about it.
    """
    data = attempt(json.loads, text) if text else None
    while isinstance(data, dict):
        try:
            return from_json(kind, data)
        except ContractError as error:
            member = re.split(r"[.\[]", error.path)[0]
            if member not in data:
                return None
            data = {name: value for name, value in data.items() if name != member}
        except _DOUBTED:
            return None
    return None


def clip(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def believed(said: Contents) -> Contents:
    """``said`` without what is no content at all: it decides on what is served."""
    return Contents(_content(said.model), _content(said.adapter))


def _content(said: str | None) -> str | None:
    return said if said and _CONTENT.fullmatch(said) else None
