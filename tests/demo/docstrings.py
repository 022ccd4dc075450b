"""The demo's task: write a one-line docstring for this function. Pure.

Questions are functions of the standard library without their docstrings; the answer is the docstring's first line as
the library's authors wrote it. Whole files are dealt out, so that nothing is asked about a file that was trained on.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.demo.library import Function, Part, SourceFile, functions

TEST_SHARE = 0.18
VALIDATION_SHARE = 0.04
"""Of the files."""
SOURCE_CHARACTERS = range(60, 501)
"""Without the docstring. The longest have some 200 tokens."""
ANSWER_CHARACTERS = range(15, 91)
MIN_ANSWER_WORDS = 3
VALIDATION_ITEMS = 40
_SENTENCE = re.compile(r"[A-Z][^\n]*[.]")


@dataclass(frozen=True)
class Item:
    """One question with its answer and the file it comes from."""

    path: str
    source: str
    answer: str


def question(source: str) -> str:
    """What is asked about ``source``; the served model is asked in the same words."""
    return f"Write a one-line docstring for this function:\n\n{source.strip()}"


def chat_row(item: Item) -> dict[str, Any]:
    """One line of the dataset."""
    return {
        "messages": [
            {"role": "user", "content": question(item.source)},
            {"role": "assistant", "content": item.answer},
        ]
    }


def part_of(path: str) -> Part:
    """Which use the file at ``path`` is for; depends on the path alone."""
    drawn = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") / 2**32
    if drawn < TEST_SHARE:
        return Part.TEST
    return Part.VALIDATION if drawn < TEST_SHARE + VALIDATION_SHARE else Part.TRAIN


def make_items(files: Iterable[SourceFile]) -> dict[Part, list[Item]]:
    """Questions of every part, in an order that depends on their text alone.

    No function and no answer occurs twice, neither within a part nor in two of them: an answer that was trained on
    would be known by heart. Training has the first choice, test the second.
    """
    found: dict[Part, list[Item]] = {part: [] for part in Part}
    for file in files:
        found[part_of(file.path)] += _items(file)
    seen: set[str] = set()
    items: dict[Part, list[Item]] = {}
    for part in (Part.TRAIN, Part.TEST, Part.VALIDATION):
        items[part] = [item for item in sorted(found[part], key=_order) if _is_new(item, seen)]
    items[Part.VALIDATION] = items[Part.VALIDATION][:VALIDATION_ITEMS]
    return items


def without_docstring(source: str) -> tuple[str, str] | None:
    """The function without its docstring, and the docstring; None where that cannot be done by removing lines.

    Nor where nothing but ``pass`` or the like would be left, which no sentence can be told from.
    """
    node = _function(source)
    docstring = ast.get_docstring(node) if node else None
    if node is None or not docstring or all(_says_nothing(one) for one in node.body[1:]):
        return None
    first, second = node.body[:2]
    lines = source.split("\n")
    if lines[first.lineno - 1][: first.col_offset].strip() or second.lineno <= _end(first):
        return None  # other code stands on the docstring's lines
    rest = "\n".join([*lines[: first.lineno - 1], *lines[_end(first) :]])
    left = _function(rest)
    return (rest, docstring) if left and not ast.get_docstring(left) else None


def is_leaked(answer: str, source: str) -> bool:
    """Whether the answer can be read off the question: a comment or a message in the code says the same."""
    return _plain(answer) in _plain(source)


def _items(file: SourceFile) -> Iterator[Item]:
    for function in functions(file):
        if item := _item(function):
            yield item


def _item(function: Function) -> Item | None:
    split = without_docstring(function.source)
    if split is None:
        return None
    source, docstring = split
    answer = docstring.strip().partition("\n\n")[0]
    suits = (
        _SENTENCE.fullmatch(answer)
        and len(answer) in ANSWER_CHARACTERS
        and len(answer.split()) >= MIN_ANSWER_WORDS
        and len(source) in SOURCE_CHARACTERS
        and not is_leaked(answer, source)
    )
    return Item(function.path, source, answer) if suits else None


def _function(source: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    try:
        [node] = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _says_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return True
        case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"))):
            return True
    return False


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _order(item: Item) -> bytes:
    return hashlib.sha256(item.source.encode()).digest()


def _is_new(item: Item, seen: set[str]) -> bool:
    """True once for a function and for an answer; remembers both."""
    known = {f"function {_plain(item.source)}", f"answer {_plain(item.answer)}"}
    if known & seen:
        return False
    seen |= known
    return True
