"""The story of the demo where the real model cannot be had: the small one learns to name a function's package."""

from __future__ import annotations

from collections.abc import Sequence

from tests.demo.story import Answered, Facts, Question, Story

from .example import EXPECTED, QUESTION
from .source import HERE, SMALL_MODEL


def remark(facts: Facts) -> str:
    """What guessing scores: the base model knows nothing of the task, so its own score says little."""
    return f"always answering with the commonest package would score {facts['majorityShare']:.2f}"


def objection(answers: Sequence[Answered]) -> str | None:
    """Every answer has to be right."""
    for one in answers:
        if one.tuned.strip() != one.question.reference:
            return f"the tuned model answered {one.tuned!r}, and {one.question.reference!r} would have been right"
    return None


PACKAGES = Story(
    about="a small model, pretrained here, learns which package a function was written for",
    source=SMALL_MODEL,
    manifests=HERE / "manifests",
    questions=(Question(QUESTION, EXPECTED),),
    answer_tokens=16,
    remark=remark,
    objection=objection,
)
