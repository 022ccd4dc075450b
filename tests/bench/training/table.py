"""Results as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench import markdown

Row = dict[str, Any]


def _number(key: str, form: str) -> Callable[[Row], str]:
    return lambda row: markdown.or_dash(row[key], form)


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("rows", lambda row: str(row["rows"])),
    ("contender", lambda row: str(row["contender"])),
    ("steps", _number("steps", ".0f")),
    ("useful tokens/s", _number("tokensPerSecond", ".0f")),
    ("of TRL", _number("ofTrl", ".2f")),
    ("of TRL by CPU time", _number("ofTrlByCpu", ".2f")),
    ("of Trainer", _number("ofPlain", ".2f")),
    ("peak MiB", _number("peakMiB", ".0f")),
    ("step s", _number("stepSeconds", ".3f")),
    ("checkpoint stall s", _number("checkpointStallSeconds", ".3f")),
    ("prepare s", _number("prepareSeconds", ".1f")),
    ("start to first step s", _number("firstStepSeconds", ".1f")),
    ("stolen", _number("stolenShare", ".0%")),
    ("busy", _number("busyShare", ".0%")),
)


def table(rows: list[Row]) -> str:
    """A Markdown table."""
    return markdown.table(_COLUMNS, rows)
