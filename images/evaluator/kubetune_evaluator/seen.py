"""Items that a model was trained on: its answers to them show memory. Pure.

A mean of values in [0, 1] can be moved by SHARE at most by so many items, less than any gain worth serving; from there
on the measurement may be all memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kubetune_shared.rowkeys import Known, RowKeys, asked

from .items import Item
from .verdict import sentences

SHARE = 0.01
"""Of the items: with more of them seen, the verdict is no Go."""


@dataclass(frozen=True)
class Seen:
    """What is known of one model."""

    name: str
    items: int | None
    """How many it was trained on; None where it brings no row keys."""
    trained_on: str | None
    """Digest of all its training rows, where its manifest tells."""


def seen_items(items: Sequence[Item], found: Iterable[Known]) -> tuple[int, ...] | None:
    """Positions of the items that a model was trained on, by the folders it is made of; None where none has keys."""
    kept: list[RowKeys] = [one.keys for one in found if one.keys is not None]
    if not kept:
        return None
    questions = [asked(item.messages, item.prompt, item.reference) for item in items]
    return tuple(n for n, keys in enumerate(questions) if any(key in known for key in keys for known in kept))


def doubts(models: Iterable[Seen], dataset_sha256: str, items: int) -> tuple[str, ...]:
    """What makes the comparison worthless however clear it looks."""
    return tuple(told for model in models if (told := _doubt(model, dataset_sha256, items)))


def remarks(models: Iterable[Seen], items: int) -> tuple[str, ...]:
    """What has to be known beside the verdict."""
    return tuple(told for model in models if (told := _remark(model, items)))


def message(decided: str | None, doubts: Sequence[str], remarks: Sequence[str]) -> str | None:
    """What a person reads: the decision's own message, which may tell the doubts already, and all else."""
    told = [one for one in doubts if one not in (decided or "")]
    parts = [*([decided] if decided else []), *told, *remarks]
    return sentences(parts) or None


def _doubt(model: Seen, dataset_sha256: str, items: int) -> str | None:
    if model.items is None:
        if model.trained_on != dataset_sha256:
            return None
        return f"{model.name} was trained on exactly these rows, so its answers show memory; {_REMEDY}"
    if model.items <= SHARE * items:
        return None
    return f"{_counted(model, items)}, more than {SHARE:.0%}, so its answers show memory; {_REMEDY}"


def _remark(model: Seen, items: int) -> str | None:
    if model.items:
        return None if model.items > SHARE * items else f"{_counted(model, items)}, within the {SHARE:.0%} allowed"
    if model.items is None and model.trained_on:
        return (
            f"The release that trained {model.name} kept no row keys: only a file that is exactly its training rows is "
            "noticed, no part of them"
        )
    return None


_REMEDY = "evaluate on rows it has not seen (items.jsonl marks those it has)"


def _counted(model: Seen, items: int) -> str:
    return f"{model.name} was trained on {model.items} of the {items} items ({(model.items or 0) / items:.1%})"


def marked(lines: Sequence[dict[str, Any]], seen: dict[str, Sequence[int]]) -> list[dict[str, Any]]:
    """The lines of ``items.jsonl``, those that a model was trained on with ``seen``, its name."""
    known = {name: frozenset(positions) for name, positions in seen.items()}
    by_line = [[name for name, positions in known.items() if n in positions] for n in range(len(lines))]
    return [{**line, "seen": names} if names else line for line, names in zip(lines, by_line, strict=True)]
