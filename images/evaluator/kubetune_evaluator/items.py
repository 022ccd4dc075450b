"""Test items: what is asked and what is expected. Pure."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.rows import MAX_ERRORS, Row, spoken

MINIMUM = 2
"""Fewer items allow no interval."""


@dataclass(frozen=True)
class Item:
    """One question; either ``prompt`` or ``messages`` is set, messages ending before the answer."""

    id: str
    """Made of the content: the same in every run and whatever the order of the file."""
    line: int
    reference: str
    prompt: str | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    """Definitions of the tools that the assistant is told of."""
    group: str | None = None
    """What it shares with other items, by the dataset's column ``group``."""

    @property
    def question(self) -> str:
        """The prompt as a person would read it."""
        return self.prompt or "" if self.messages is None else "\n\n".join(map(spoken, self.messages))

    @property
    def uses_tools(self) -> bool:
        """Whether the question says anything of tools."""
        return Row(self.line, messages=self.messages, tools=self.tools).uses_tools


@dataclass(frozen=True)
class Selection:
    """The items to measure on, in the order of the file."""

    items: tuple[Item, ...]
    rows: int
    duplicates: int
    """Rows left out because an equal one came before: counted twice, an item would narrow the interval for nothing."""


def select(rows: Iterable[Row], limit: int | None, seed: int) -> Selection:
    """``limit`` items drawn by a hash of seed and content, so that adding a row changes at most one of them.

    Raises KubeTuneError (BAD_DATA): NoReference for rows that ask nothing, TooFewItems for fewer than two items.
    """
    everything = list(rows)
    unique: dict[str, Item] = {}
    errors: list[str] = []
    for row in everything:
        item = to_item(row)
        if isinstance(item, str):
            errors.append(f"line {row.line} {item}")
        else:
            unique.setdefault(item.id, item)
    if errors:
        raise _bad("NoReference", f"dataset {'; '.join(errors[:MAX_ERRORS])}{_more(len(errors))}")
    chosen = sorted(unique.values(), key=lambda item: _draw(seed, item.id))[:limit]
    if len(chosen) < MINIMUM:
        raise _bad(
            "TooFewItems",
            f"the dataset leaves {len(chosen)} item(s) of {len(everything)} rows; an interval needs at least "
            f"{MINIMUM}. Add different test rows or raise the limit",
        )
    return Selection(tuple(sorted(chosen, key=lambda item: item.line)), len(everything), len(everything) - len(unique))


def groups_of(items: Sequence[Item]) -> tuple[int, ...]:
    """The group of each item, named by its first item: items that share a ``group`` or ask the same are in one.

    The same is asked by prompts that differ in case, spaces and Unicode forms at most.
    """
    numbers: dict[str, int] = {}
    parents = list(range(len(items)))

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = parents[parents[at]]
            at = parents[at]
        return at

    for index, item in enumerate(items):
        for tie in _ties(item):
            first, own = root(numbers.setdefault(tie, index)), root(index)
            parents[max(first, own)] = min(first, own)
    return tuple(root(index) for index in range(len(items)))


def _ties(item: Item) -> list[str]:
    asked = " ".join(unicodedata.normalize("NFKC", item.question).casefold().split())
    return [f"prompt {asked}", *([f"group {item.group}"] if item.group is not None else [])]


def to_item(row: Row) -> Item | str:
    """The row as a question with its answer, or what it lacks for that."""
    if row.messages is not None:
        answers = [number for number, message in enumerate(row.messages) if message["role"] == "assistant"]
        # The last assistant turn is the one to be produced; earlier ones are given.
        asked = row.messages[: answers[-1]] if answers else ()
        if not any(message["role"] == "user" for message in asked):
            return "has no user message before the last assistant message, so nothing is asked"
        answer = row.messages[answers[-1]]
        if answer.get("tool_calls"):
            return (
                "ends with a tool call as its answer, which the metrics cannot compare; end the row with an answer in "
                "text, or leave it out"
            )
        reference = answer["content"]
        content = [*asked, reference, *([{"tools": row.tools}] if row.tools else [])]
        return Item(_id(content), row.line, reference, messages=tuple(asked), tools=row.tools, group=row.group)
    if row.text is not None:
        return "is plain text, which has no prompt and no reference; evaluate on prompt/completion or messages rows"
    prompt, completion = row.prompt or "", row.completion or ""
    return Item(_id([prompt, completion]), row.line, completion, prompt=prompt, group=row.group)


def _id(content: Sequence[object]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _draw(seed: int, item: str) -> str:
    return hashlib.sha256(f"{seed}:{item}".encode()).hexdigest()


def _more(count: int) -> str:
    return f"; and {count - MAX_ERRORS} more" if count > MAX_ERRORS else ""


def _bad(reason: str, message: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, reason, message)
