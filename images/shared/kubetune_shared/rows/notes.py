"""What rows hold beside what is learned from: nothing of it goes without being counted. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_NAMES = 200
"""Different members that are counted by name in one file."""


class Told(enum.StrEnum):
    """How rows were read where that is not as they are written."""

    NULL_MEMBERS = "null members of calls and tools are taken as not there (keep them as JSON text to learn them)"
    EMPTY_PROMPT = "the prompt is empty, so that the answer is learned without a question"
    SYSTEM_TWICE = "the chat has a system message of its own, and the system member beside it is not used"


@dataclass
class Notes:
    """Of one row. Members are named by their path: ``topic``, ``messages[].name``."""

    unused: set[str] = field(default_factory=set)
    told: set[Told] = field(default_factory=set)

    def beside(self, members: Mapping[Any, Any], used: Collection[str], within: str = "") -> None:
        """Notes the members that are not among ``used``; null says nothing, so nothing is lost with it."""
        self.unused.update(
            f"{within}{name}" for name, value in members.items() if name not in used and value is not None
        )


@dataclass
class Counted:
    """Of a file: member, or remark, -> rows."""

    unused: Counter[str] = field(default_factory=Counter)
    told: Counter[Told] = field(default_factory=Counter)

    def add(self, notes: Notes) -> None:
        """One row's."""
        for name in notes.unused:
            # A file of random names must not fill the memory.
            self.unused[name if name in self.unused or len(self.unused) < MOST_NAMES else "..."] += 1
        self.told.update(notes.told)

    @staticmethod
    def sum(parts: Iterable[Counted]) -> Counted:
        """Of several files."""
        total = Counted()
        for part in parts:
            total.unused.update(part.unused)
            total.told.update(part.told)
        return total
