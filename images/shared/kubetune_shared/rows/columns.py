"""Which columns a file's rows are learned from, where they are not called by our own names. Pure.

Each reading of the columns has a confidence, the product of three numbers that a person can check:

- name: 1 for our own names but for case and spaces, 0.9 for a pair of names that is well known (PAIRS) and for a chat
  under a known name, 0.8 for two known names that are no usual pair, 0.7 for names told by a word of theirs, for a text
  with a label, and for documents;
- filled: share of the first SAMPLE rows in which all its columns hold what they should;
- alone: 1 where no other reading is as good by its names, else its part of what they are all filled.

Below ENOUGH nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubetune_contract import RowFormat

from .chats import chat_items
from .formats import BESIDE, OPTIONAL, SHAPES
from .names import (
    ANSWER_WORDS,
    ANSWERS,
    CHATS,
    CONTEXTS,
    DOCUMENTS,
    LABELS,
    NO_CONTENT,
    OF_TEXT,
    PAIRS,
    QUESTION_WORDS,
    QUESTIONS,
    TEXTS,
    plain,
    words,
)

LONGEST = 64
"""Characters of a column's name that is known for what it holds."""
SAMPLE = 1000
"""Rows that are looked at before it is decided."""
ENOUGH = 0.6
OWN, USUAL, KNOWN, LIKELY = 1.0, 0.9, 0.8, 0.7
"""How sure names are."""


@dataclass(frozen=True)
class Reading:
    """One way to read the columns."""

    kind: RowFormat
    columns: dict[str, str] = field(default_factory=dict)
    """Our name of a member -> the file's."""
    confidence: float = 1.0

    @property
    def needed(self) -> list[str]:
        """The columns without which a row cannot be read."""
        return [self.columns[name] for name in SHAPES[self.kind]]


def recognise(rows: Sequence[Mapping[str, Any]], wanted: RowFormat | None = None) -> list[Reading]:
    """The readings that are best by their names, the most confident first; empty when no column is known.

    ``wanted`` is the shape that rows are said to have.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if len(name) <= LONGEST and name.isprintable()))
    found: dict[float, list[tuple[Reading, float]]] = {}
    for sure, reading in _readings(names, rows):
        filled = _filled(rows, reading)
        if filled and wanted in (None, reading.kind):
            found.setdefault(sure, []).append((reading, filled))
    if not found:
        return []
    sure = max(found)
    best = [(reading, filled) for reading, filled in found[sure] if not _is_part(reading, found[sure])]
    total = sum(filled for _, filled in best)
    made = [
        Reading(reading.kind, _with_optional(reading, names), round(sure * filled * filled / total, 2))
        for reading, filled in best
    ]
    return sorted(made, key=lambda reading: -reading.confidence)


def _is_part(reading: Reading, others: Sequence[tuple[Reading, float]]) -> bool:
    """Whether another reading takes these columns and one more: the question to an input, say."""
    mine = set(reading.columns.values())
    return any(mine < set(other.columns.values()) for other, _ in others)


def _with_optional(reading: Reading, names: Sequence[str]) -> dict[str, str]:
    """The columns, and those beside them that are called by our names but for case and spaces."""
    beside = [name for name in OPTIONAL if name in BESIDE[reading.kind] and name not in reading.columns]
    free = [name for name in names if name not in reading.columns.values()]
    optional = {member: next((name for name in free if plain(name) == member), None) for member in beside}
    return reading.columns | {member: name for member, name in optional.items() if name is not None}


def is_labelled(row: Mapping[str, Any]) -> bool:
    """Whether a row of a member ``text`` has a class beside it."""
    return any(row.get(name) is not None for name in OF_TEXT)


def has_class_numbers(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the classes beside texts are numbers."""
    return any(_is_class_number(row.get(name)) for row in rows for name in OF_TEXT)


def _readings(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, Reading]]:
    by_plain: dict[str, list[str]] = {}
    for name in names:
        by_plain.setdefault(plain(name), []).append(name)
    yield from _own(by_plain)
    yield from _pairs(by_plain)
    yield from _labels(by_plain)
    yield from _by_words(names)
    yield from _chats(names, rows)
    for known in DOCUMENTS:
        for name in by_plain.get(known, ()):
            yield LIKELY, Reading(RowFormat.TEXT, {"text": name})


def _own(by_plain: Mapping[str, list[str]]) -> Iterator[tuple[float, Reading]]:
    for kind, needed in SHAPES.items():
        labelled = kind is RowFormat.TEXT and any(name in by_plain for name in OF_TEXT)
        if all(len(by_plain.get(member, ())) == 1 for member in needed) and not labelled:
            yield OWN, Reading(kind, {member: by_plain[member][0] for member in needed})
            return


def _pairs(by_plain: Mapping[str, list[str]]) -> Iterator[tuple[float, Reading]]:
    usual = set(PAIRS)
    known = [*PAIRS, *((a, b) for a in sorted(QUESTIONS) for b in sorted(ANSWERS) if a != b and (a, b) not in usual)]
    for asked, told in known:
        sure = USUAL if (asked, told) in usual else KNOWN
        for question in by_plain.get(asked, ()):
            for answer in by_plain.get(told, ()):
                yield sure, _asked(question, answer, by_plain)


def _asked(question: str, answer: str, by_plain: Mapping[str, list[str]]) -> Reading:
    between = next((by_plain[name][0] for name in CONTEXTS if name in by_plain and name != plain(question)), None)
    if between is None:
        return Reading(RowFormat.PROMPT_COMPLETION, {"prompt": question, "completion": answer})
    return Reading(RowFormat.INSTRUCTION, {"instruction": question, "input": between, "output": answer})


def _labels(by_plain: Mapping[str, list[str]]) -> Iterator[tuple[float, Reading]]:
    label = next((by_plain[name][0] for name in LABELS if name in by_plain), None)
    for name in TEXTS if label is not None else ():
        for text in by_plain.get(name, ()):
            yield LIKELY, Reading(RowFormat.PROMPT_COMPLETION, {"prompt": text, "completion": str(label)})


def _by_words(names: Sequence[str]) -> Iterator[tuple[float, Reading]]:
    asked = [name for name in names if _is_told_by(name, QUESTION_WORDS, ANSWER_WORDS)]
    told = [name for name in names if _is_told_by(name, ANSWER_WORDS, QUESTION_WORDS)]
    for question in asked:
        for answer in told:
            yield LIKELY, Reading(RowFormat.PROMPT_COMPLETION, {"prompt": question, "completion": answer})


def _is_told_by(name: str, by: frozenset[str], other: frozenset[str]) -> bool:
    found = words(name)
    return bool(found & by) and not found & other and not found & NO_CONTENT


def _chats(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, Reading]]:
    for name in names:
        first = next((items[0] for row in rows[:20] if (items := chat_items(row.get(name)))), None)
        sure = USUAL if plain(name) in CHATS else KNOWN
        if isinstance(first, Mapping) and "from" in first and "value" in first:
            yield sure, Reading(RowFormat.SHAREGPT, {"conversations": name})
        elif isinstance(first, Mapping) and "role" in first and "content" in first:
            yield sure, Reading(RowFormat.MESSAGES, {"messages": name})


def _filled(rows: Sequence[Mapping[str, Any]], reading: Reading) -> float:
    holds = _HOLDS.get(reading.kind, _is_text)
    good = sum(all(holds(row.get(name)) for name in reading.needed) for row in rows)
    if reading.kind is RowFormat.PROMPT_COMPLETION and plain(reading.columns["completion"]) in LABELS:
        numbers = sum(_is_class_number(row.get(reading.columns["completion"])) for row in rows)
        good = 0 if numbers else good
    return good / len(rows)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_class_number(value: Any) -> bool:
    return isinstance(value, (bool, int)) or (isinstance(value, str) and value.strip().lstrip("-").isdigit())


def _is_chat(value: Any) -> bool:
    return bool(chat_items(value))


_HOLDS: dict[RowFormat, Callable[[Any], bool]] = {RowFormat.MESSAGES: _is_chat, RowFormat.SHAREGPT: _is_chat}
