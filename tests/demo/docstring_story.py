"""The demo's story: SmolLM2 learns to write one-line docstrings."""

from __future__ import annotations

from collections.abc import Sequence

from .docstrings import question
from .shell import ROOT
from .smollm2 import SMOLLM2
from .story import Answered, Question, Story, mean_overlap

QUESTIONS = (
    Question(
        question("def area(r):\n    return 3.14159 * r ** 2"),
        "Calculate the area of a circle.",
    ),
    Question(
        question(
            "def is_palindrome(text):\n"
            "    letters = [c.lower() for c in text if c.isalpha()]\n"
            "    return letters == letters[::-1]"
        ),
        "Return True if the text is a palindrome.",
    ),
    Question(
        question("def tail(path, count=10):\n    with open(path) as file:\n        return file.readlines()[-count:]"),
        "Return the last lines of a file.",
    ),
    Question(
        question("def remove_user(self, name):\n    del self.users[name]\n    self.save()"),
        "Remove a user by name.",
    ),
)


def objection(answers: Sequence[Answered]) -> str | None:
    """The tuned model has to answer in one line, without code, and closer to the references than its base."""
    for one in answers:
        if not one.tuned.strip():
            return f"the tuned model has no answer to {one.question.text!r}"
    rambling = [one.tuned for one in answers if not is_one_line(one.tuned)]
    if 2 * len(rambling) >= len(answers):
        return f"{len(rambling)} of {len(answers)} answers are no line of prose, for example {rambling[0]!r}"
    tuned = mean_overlap([(one.question.reference, one.tuned) for one in answers])
    base = mean_overlap([(one.question.reference, one.base or "") for one in answers])
    if tuned <= base:
        return f"the tuned model's answers are no closer to the references ({tuned:.2f}) than its base's ({base:.2f})"
    return None


def is_one_line(answer: str) -> bool:
    """Whether it is one line of prose, not code."""
    text = answer.strip()
    return "\n" not in text and "```" not in text and not text.startswith(("def ", "async def ", "class "))


DOCSTRINGS = Story(
    about="SmolLM2-135M-Instruct learns to write one-line docstrings",
    source=SMOLLM2,
    manifests=ROOT / "manifests" / "examples" / "demo",
    questions=QUESTIONS,
    answer_tokens=40,
    objection=objection,
)
