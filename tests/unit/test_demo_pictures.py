"""The drawing of a run's answers: everything on it, nothing that breaks the SVG, of bounded size."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tests.demo.outcome import Outcome
from tests.demo.pictures import COLUMNS, MOST_LINES, drawing

SVG = "{http://www.w3.org/2000/svg}"


def texts(**more: Any) -> list[str]:
    found = Outcome(**({"about": "a story", "rows": {"train": 3}, "scores": ["rougeL 0.28"], "answers": []} | more))
    return [one.text or "" for one in ElementTree.fromstring(drawing(found)).iter(f"{SVG}text")]


def test_questions_answers_and_scores_are_drawn() -> None:
    shown = texts(answers=[{"question": "def f(a):\n    return a", "tuned": "Return a.", "base": "Sure! <b>"}])
    assert shown == ["def f(a):", "    return a", "tuned  Return a.", "base   Sure! <b>", "rougeL 0.28"]


def test_an_answer_that_goes_on_is_cut() -> None:
    shown = texts(answers=[{"question": "f", "tuned": "x", "base": "word & word\n" * 400}], scores=["long " * 90])
    assert len([line for line in shown if "word" in line]) == MOST_LINES - 1
    assert max(map(len, shown)) <= COLUMNS


def test_a_base_that_was_not_asked_is_left_out() -> None:
    assert texts(answers=[{"question": "f", "tuned": "x"}], scores=[]) == ["f", "tuned  x"]
