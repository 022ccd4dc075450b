"""What is said of how the rows were read: nothing that changes what is learned goes without a word. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from kubetune_contract import UNUSED_LIMIT, Suggestion

from .names import as_columns
from .notes import Counted, Told
from .reading import Rows

_LONGEST = 48
"""Characters of a member's name."""
_BYTES, _BESIDE_A_NAME = 600, 8
"""Of all names together: the kubelet keeps 4096 bytes of a summary. What a count and its marks take beside a name."""
_NAMED = 6
"""Members named in a sentence."""
REASONS = {
    Told.NULL_MEMBERS: "NullMembers",
    Told.EMPTY_PROMPT: "EmptyPrompts",
    Told.SYSTEM_TWICE: "SystemTwice",
}
"""What a suggestion about each is called."""


def how_read(files: Sequence[Rows]) -> tuple[Suggestion, ...]:
    """A suggestion for each way in which files were not read as they stand."""
    return tuple(Suggestion(reason, message) for reason, message in _said(files))


def unused_members(files: Sequence[Rows]) -> dict[str, int]:
    """Member -> rows that have it, the most frequent first; at most UNUSED_LIMIT and _BYTES, the rest under ``...``."""
    counts = Counted.sum(file.counted for file in files).unused
    ordered = sorted(counts.items(), key=lambda item: (item[0] == "...", -item[1], item[0]))
    cut = [(_shown(name), count) for name, count in ordered]
    sizes = itertools.accumulate(len(name.encode()) + _BESIDE_A_NAME for name, _ in cut)
    fit = sum(size <= _BYTES for size in sizes)
    most = len(cut) if len(cut) <= min(UNUSED_LIMIT, fit) else min(UNUSED_LIMIT - 1, fit)
    found: Counter[str] = Counter()
    for number, (name, count) in enumerate(cut):
        found[name if number < most else "..."] += count
    return dict(found)


def columns_confidence(files: Sequence[Rows]) -> float | None:
    """The lowest, where columns were recognised."""
    return min((file.confidence for file in files if file.confidence is not None), default=None)


def _said(files: Sequence[Rows]) -> Iterator[tuple[str, str]]:
    for columns, confidence in _recognised(files):
        yield (
            "ColumnsRecognised",
            f"the columns are read as {as_columns(columns)} with a confidence of {confidence:.2f}; write that into "
            "spec.dataset to be sure of it, or the right ones if it is wrong",
        )
    missing, total = sum(file.missing for file in files), sum(file.total for file in files)
    if missing:
        yield "MissingCells", f"{missing} of {total} rows ({missing / total:.1%}) lack a cell and are left out"
    unused = unused_members(files)
    if unused:
        yield "UnusedMembers", f"nothing is learned from these members of the rows: {_listed(unused)}"
    for told, count in Counted.sum(file.counted for file in files).told.items():
        yield REASONS[told], f"{count} of {total} rows: {told}"


def _recognised(files: Sequence[Rows]) -> Iterator[tuple[Mapping[str, str], float]]:
    """Of each file, once where they are alike."""
    seen: list[Mapping[str, str]] = []
    for file in files:
        if file.confidence is not None and file.columns not in seen:
            seen.append(file.columns)
            yield file.columns, file.confidence


def _shown(name: str) -> str:
    """Whatever a file calls its members, it can be written down."""
    name = name.encode("utf-8", "replace").decode()
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _listed(unused: Mapping[str, int]) -> str:
    shown = [f"{name} ({count} rows)" for name, count in list(unused.items())[:_NAMED]]
    more = len(unused) - len(shown)
    return ", ".join(shown) + (f" and {more} more (status.preflight.unusedMembers)" if more else "")
