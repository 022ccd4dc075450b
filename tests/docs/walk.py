"""What a new user stumbled over on the first day, by number, and what answers each of them now.

A row is answered by tests that carry its number (``@pytest.mark.walk("W6")``), by sentences in the docs
(``SENTENCES``), or by both. The rows: W is what was wrong, C what was confusing, S what was wished for, Q what no page
answered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .markdown import ROOT

ROWS = (
    *(f"W{number}" for number in range(1, 16)),
    *(f"C{number}" for number in range(1, 25)),
    *(f"S{number}" for number in range(1, 8)),
    *(f"Q{number}" for number in range(1, 9)),
)
Sentence = tuple[str, str]
"""A page and what stands there, word by word; line breaks do not count."""

SENTENCES: dict[str, tuple[Sentence, ...]] = {
    "W2": (("README.md", "`kubectl get ftj,evl,mdep -n kubetune` shows job, evaluation and deployment together."),),
    "W8": (
        (
            "README.md",
            "`kubectl wait --for=condition=Finished` ends when a job has succeeded and when it has failed.",
        ),
    ),
    "C1": (
        ("docs/install.md", "Whoever may read the root key can also copy it."),
        ("docs/install.md", "The list replaces the one before it, so name all of them each time."),
    ),
    "C15": (
        ("docs/first-model.md", "| a FineTuneJob | its pods; the Evaluation of its name, and so the verdict |"),
        ("docs/first-model.md", "a ModelDeployment of it serves on, also after a restart."),
    ),
    "C17": (
        (
            "docs/first-model.md",
            "| the operator: jobs, verdicts, queue | `http://kubetune-operator.kubetune.svc:8080/metrics` |",
        ),
        ("docs/first-model.md", "| one training, while its pod runs | port 9400 of the pod: `/metrics`, and"),
    ),
    "C20": (("docs/first-model.md", "One command brings it here, by `kubectl` alone:"),),
    "C21": (("docs/serving.md", "curl http://localhost:8000/v1/chat/completions"),),
    "S2": (("docs/install.md", "this lists the folders whose uid no object mentions"),),
    "S4": (("docs/training.md", "from each process's start: loading libraries and model,"),),
    "S7": (
        ("docs/api.md", "### FineTuneJob: the fields one needs first"),
        ("docs/api.md", "### Evaluation: the fields one needs first"),
        ("docs/api.md", "### ModelDeployment: the fields one needs first"),
        ("docs/api.md", "- Nothing in `spec` can be changed after creation (only suspend can);"),
    ),
    "Q1": (("docs/questions.md", "## Who gives my namespace the store's keys, and how without Helm?"),),
    "Q2": (
        ("docs/questions.md", "## What happens to the Evaluation and the ModelDeployment when I delete the job?"),
        (
            "docs/questions.md",
            "The Evaluation that the job wrote is deleted with it, and the ModelDeployment serves on",
        ),
    ),
    "Q3": (("docs/questions.md", "A job learns one state of its data and never a mixture:"),),
    "Q4": (("docs/questions.md", "take evaluation/NAME -n NAMESPACE --open` brings it into your browser:"),),
    "Q5": (("docs/questions.md", "Deleting an object leaves its results in the store;"),),
    "Q6": (("docs/questions.md", "where a request names none, the tuned model answers"),),
    "Q7": (("docs/questions.md", "count 2 GiB, 4 GiB for each billion weights of the base model,"),),
    "Q8": (("docs/questions.md", "Create a second Evaluation with more items and name it in the deployment's"),),
}


def words(text: str) -> str:
    """The text with all white space alike."""
    return " ".join(text.split())


def stands_there(sentence: Sentence) -> bool:
    """Whether the page has the sentence."""
    page, text = sentence
    path = ROOT / page
    return path.exists() and words(text) in words(path.read_text(encoding="utf-8"))


def marked_tests(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Row -> the tests that carry its number, read from their sources: no suite has to be collected for it."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.walk(" not in text:
            continue
        place = str(path.relative_to(folder.parent))
        for name, node in _tests(ast.parse(text)):
            for row in _numbers(node.decorator_list):
                found.setdefault(row, []).append(f"{place}::{name}")
    return found


Marked = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _tests(tree: ast.Module) -> Iterator[tuple[str, Marked]]:
    for node in tree.body:
        if not isinstance(node, Marked):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Marked):
                    yield f"{node.name}::{inner.name}", inner


def _numbers(decorators: list[ast.expr]) -> Iterator[str]:
    for call in decorators:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.walk":
            yield from (str(argument.value) for argument in call.args if isinstance(argument, ast.Constant))
