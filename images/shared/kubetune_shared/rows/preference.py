"""Preference data: pairs of a better and a worse answer, and answers marked good or bad. Pure.

A FineTuneJob learns to give the answers it is shown, so that a bad one must not be among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubetune_contract import RowFormat

from .malformed import MalformedError
from .names import QUESTIONS, as_columns, plain, words

BETTER = frozenset({"chosen", "preferred", "winner", "accepted"})
WORSE = frozenset({"rejected", "dispreferred", "loser"})
"""Words in the names of a pair's members."""
MARKS = ("label", "kto_tag")
"""Members that say of KTO's rows whether the answer is a good one."""


def is_pair(names: Mapping[str, Any]) -> bool:
    """Whether members of these names hold a pair of answers."""
    found = [words(str(name)) for name in names]
    return any(BETTER & name for name in found) and any(WORSE & name for name in found)


def pair_problem(raw: Mapping[str, Any]) -> str:
    """What to say of a row that is a pair, and of no other shape."""
    better = next(name for name in raw if BETTER & words(str(name)))
    asked = next((name for name in raw if plain(str(name)) in QUESTIONS), "prompt")
    columns = {"messages": better} if isinstance(raw[better], list) else {"prompt": asked, "completion": better}
    return (
        "is preference data (a better and a worse answer), which a FineTuneJob does not learn from; to learn the "
        f"better answers alone, write {as_columns(columns)} in spec.dataset"
    )


def check_mark(raw: Mapping[str, Any], kind: RowFormat) -> None:
    """Raises MalformedError for an answer that is marked as a bad one."""
    for name in MARKS if kind is not RowFormat.TEXT else ():
        if _mark(raw.get(name)) is False:
            raise MalformedError(
                f"has {name}: false, by which preference data (KTO) marks a bad answer: it would be learned like a "
                f"good one; take such rows out, or rename {name} if it means something else"
            )


def marks(raw: Mapping[str, Any], kind: RowFormat) -> set[str]:
    """The members that say that the row's answer is a good one."""
    return {name for name in MARKS if kind is not RowFormat.TEXT and _mark(raw.get(name)) is True}


def _mark(value: Any) -> bool | None:
    """None for what says nothing of the kind: numbers may be classes of anything."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None
