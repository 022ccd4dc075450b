"""Every law, and every fault that was found, has a test that carries its row."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.laws import ELSEWHERE, LAWS, told

TESTS = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"mark\.law\(([^)]*)\)")


def marked() -> set[str]:
    """Rows that the sources of the tests name."""
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return {row for text in texts for mark in _MARK.findall(text) for row in re.findall(r'"(\w+)"', mark)}


def test_every_row_has_a_test() -> None:
    assert marked() | ELSEWHERE.keys() == LAWS.keys()


def test_what_is_shown_is_counted() -> None:
    lines = told(["L1", "L1", "F5"])
    assert lines[0].endswith("(2 tests)")
    assert sum(line.endswith("(1 test)") for line in lines) == 1
    assert any("in the trainer's image" in line for line in lines)
