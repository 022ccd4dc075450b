"""What a run of the demo tells: on which base model, with which resources, and what is asked in the end. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .source import Source

Facts = dict[str, Any]
"""What the data's maker says of it, in facts.json."""


@dataclass(frozen=True)
class Question:
    """What the served models are asked, with a right answer. Written for the demo: no file of the data holds it."""

    text: str
    reference: str


@dataclass(frozen=True)
class Answered:
    """A question with both models' answers."""

    question: Question
    tuned: str
    base: str | None


@dataclass(frozen=True)
class Story:
    """One run of the demo."""

    about: str
    """Base model and task in one line."""
    source: Source
    manifests: Path
    questions: tuple[Question, ...]
    answer_tokens: int
    objection: Callable[[Sequence[Answered]], str | None]
    """Why the tuned model's answers will not do; None when they will."""
    remark: Callable[[Facts], str] | None = None
    """What else the scores have to be judged by."""


def rows_line(facts: Facts) -> str:
    """The data's size."""
    items, files = facts["items"], facts["files"]
    return (
        f"{items['train']:,} rows to train on ({files['train']} files), {items['validation']} for validation "
        f"({files['validation']} files), {items['test']} test items ({files['test']} files)"
    )


def overlap(reference: str, answer: str) -> float:
    """Words in common and in order, as F1: what rougeL measures, 0 to 1."""
    left, right = (re.findall(r"\w+", text.lower()) for text in (reference, answer))
    common = _common(left, right)
    return 2 * common / (len(left) + len(right)) if common else 0.0


def mean_overlap(pairs: Sequence[tuple[str, str]]) -> float:
    """Of (reference, answer) pairs."""
    return sum(overlap(reference, answer) for reference, answer in pairs) / len(pairs)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for one in left:
        before = row[:]
        for place, other in enumerate(right, 1):
            row[place] = before[place - 1] + 1 if one == other else max(before[place], row[place - 1])
    return row[-1]
