"""The small model's task: which package of the standard library was this function written for?

Questions are functions of files the model has never read; the answer is the package's name, so it can be checked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.demo.library import Function, Part, SourceFile, functions

MIN_CHARACTERS = 150
MAX_CHARACTERS = 700
"""About 230 tokens of the small model's tokenizer: question and answer stay below 256."""


@dataclass(frozen=True)
class Limits:
    """How many packages take part and how many questions each may give."""

    packages: int = 8
    train: int = 240
    validation: int = 12
    test: int = 40
    min_train: int = 80
    min_test: int = 20


@dataclass(frozen=True)
class Item:
    """One question with its answer and the file it comes from."""

    path: str
    source: str
    answer: str


def question(source: str) -> str:
    """What is asked about ``source``; the served model is asked in the same words."""
    return f"{source.strip()}\n\nWhich package is this function from?"


def chat_row(item: Item) -> dict[str, Any]:
    """One line of the dataset."""
    return {
        "messages": [
            {"role": "user", "content": question(item.source)},
            {"role": "assistant", "content": item.answer},
        ]
    }


def make_items(parts: dict[Part, list[SourceFile]], limits: Limits = Limits()) -> dict[Part, list[Item]]:
    """Questions of every part over the same packages, in an order that depends on their text alone.

    A function whose text stands in a training file as well is no question of another part.
    Raises ValueError when fewer than two packages have enough functions.
    """
    candidates = {part: _candidates(files) for part, files in parts.items()}
    trained = {item.source for item in candidates[Part.TRAIN]}
    for part in (Part.VALIDATION, Part.TEST):
        candidates[part] = [item for item in candidates[part] if item.source not in trained]
    packages = _choose_packages(candidates, limits)
    caps = {Part.TRAIN: limits.train, Part.VALIDATION: limits.validation, Part.TEST: limits.test}
    return {part: _take(candidates[part], packages, caps[part]) for part in Part}


def majority_share(items: list[Item]) -> float:
    """Score of always answering with the commonest package."""
    return max(Counter(item.answer for item in items).values()) / len(items)


def _candidates(files: Iterable[SourceFile]) -> list[Item]:
    found: dict[str, Item] = {}
    for file in files:
        if file.package is None:
            continue
        for function in functions(file):
            if _suits(function):
                found.setdefault(function.source, Item(file.path, function.source, file.package))
    return sorted(found.values(), key=lambda item: hashlib.sha256(item.source.encode()).digest())


def _suits(function: Function) -> bool:
    return MIN_CHARACTERS <= len(function.source) <= MAX_CHARACTERS


def _choose_packages(candidates: dict[Part, list[Item]], limits: Limits) -> list[str]:
    train = Counter(item.answer for item in candidates[Part.TRAIN])
    test = Counter(item.answer for item in candidates[Part.TEST])
    enough = [name for name in train if train[name] >= limits.min_train and test[name] >= limits.min_test]
    if len(enough) < 2:
        raise ValueError(
            f"only {len(enough)} packages of this standard library have {limits.min_train} functions to train on and "
            f"{limits.min_test} to test with; use a Python whose library comes as source files"
        )
    return sorted(enough, key=lambda name: (-train[name], name))[: limits.packages]


def _take(items: list[Item], packages: list[str], each: int) -> list[Item]:
    counts: Counter[str] = Counter()
    taken = []
    for item in items:
        if item.answer in packages and counts[item.answer] < each:
            counts[item.answer] += 1
            taken.append(item)
    return taken
