"""Results of a bench as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def table(columns: Sequence[tuple[str, Callable[[Row], str]]], rows: Iterable[Row]) -> str:
    """``columns`` are titles, and how a row's cell below them reads."""
    cells = [[title for title, _ in columns], *([show(row) for _, show in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def or_dash(value: float | None, form: str) -> str:
    """``value`` in the format ``form``, or a dash where there is none."""
    return "-" if value is None else format(value, form)
