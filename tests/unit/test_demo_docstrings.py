"""The demo's questions: no file, function or answer in two parts, and no answer in its question."""

from __future__ import annotations

import ast

import pytest

from tests.demo.docstring_story import QUESTIONS, is_one_line, objection
from tests.demo.docstrings import (
    ANSWER_CHARACTERS,
    SOURCE_CHARACTERS,
    VALIDATION_ITEMS,
    Item,
    chat_row,
    is_leaked,
    make_items,
    part_of,
    question,
    without_docstring,
)
from tests.demo.library import Part, SourceFile, library_root, read_library
from tests.demo.story import Answered, mean_overlap, overlap, rows_line

LONG = "    total = sum(value for value in values if value is not None)\n    return total / len(values)"


@pytest.fixture(scope="module")
def library() -> list[SourceFile]:
    """A part of it that is read within seconds."""
    wanted = ("asyncio/", "email/", "http/", "importlib/", "json/", "logging/", "xml/")
    return [file for file in read_library(library_root()) if file.path.startswith(wanted) or "/" not in file.path]


@pytest.fixture(scope="module")
def items(library: list[SourceFile]) -> dict[Part, list[Item]]:
    return make_items(library)


def function(name: str, docstring: str, rest: str = LONG) -> str:
    return f'def {name}(values):\n    """{docstring}"""\n{rest}\n'


def file_for(part: Part, text: str, start: int = 0) -> SourceFile:
    """A file whose path is dealt to ``part``."""
    return next(
        SourceFile(f"m{number}.py", text) for number in range(start, start + 999) if part_of(f"m{number}.py") is part
    )


def test_there_are_enough_of_every_part(items: dict[Part, list[Item]]) -> None:
    assert len(items[Part.TRAIN]) >= 500
    assert len(items[Part.TEST]) >= 100
    assert len(items[Part.VALIDATION]) <= VALIDATION_ITEMS


def test_no_file_serves_two_parts(items: dict[Part, list[Item]]) -> None:
    files = [{item.path for item in items[part]} for part in Part]
    assert sum(map(len, files)) == len(set().union(*files))
    assert all(part_of(item.path) is part for part in Part for item in items[part])


def test_no_function_and_no_answer_occurs_twice(items: dict[Part, list[Item]]) -> None:
    everything = [item for part in Part for item in items[part]]
    assert len({item.source for item in everything}) == len(everything)
    assert len({item.answer.lower() for item in everything}) == len(everything)


def test_no_question_holds_its_answer_or_any_docstring(items: dict[Part, list[Item]]) -> None:
    for part in Part:
        for item in items[part]:
            assert item.answer.lower() not in question(item.source).lower()
            node = ast.parse(item.source).body[0]
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            assert ast.get_docstring(node) is None


def test_questions_and_answers_are_of_bounded_size(items: dict[Part, list[Item]]) -> None:
    for part in Part:
        for item in items[part]:
            assert len(item.source) in SOURCE_CHARACTERS
            assert len(item.answer) in ANSWER_CHARACTERS
            assert is_one_line(item.answer)


def test_items_do_not_depend_on_the_order_of_the_files(library: list[SourceFile]) -> None:
    some = library[:60]
    assert make_items(some) == make_items(list(reversed(some)))


def test_a_function_that_was_trained_on_is_no_question_elsewhere() -> None:
    text = function("mean", "Return the mean of all values.")
    for part in (Part.TEST, Part.VALIDATION):
        items = make_items([file_for(Part.TRAIN, text), file_for(part, text.replace("mean of", "average of"))])
        assert [len(items[one]) for one in (Part.TRAIN, part)] == [1, 0]


def test_an_answer_that_was_trained_on_is_no_question_elsewhere() -> None:
    other = LONG.replace("total", "whole")
    for docstring in ("Return the mean of all values.", "Return the Mean of all  values."):
        held_out = function("average", docstring, other)
        items = make_items(
            [
                file_for(Part.TRAIN, function("mean", "Return the mean of all values.")),
                file_for(Part.TEST, held_out),
            ]
        )
        assert not items[Part.TEST]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f(a):\n    """Text."""\n    return a', "def f(a):\n    return a"),
        ('def f(a):\n    """Text.\n\n    More.\n    """\n\n    return a', "def f(a):\n\n    return a"),
        ("def f(\n    a,\n):\n    'Text.'\n    return a", "def f(\n    a,\n):\n    return a"),
        ('@decorated\ndef f(a):\n    """Text."""\n    return a', "@decorated\ndef f(a):\n    return a"),
        ('async def f(a):\n    """Text."""\n    await a', "async def f(a):\n    await a"),
        ('def f(a):\n    # Why.\n    """Text."""\n    return a', "def f(a):\n    # Why.\n    return a"),
        ('def f(a):\n    """Text."""  # noqa\n    return "Text."', 'def f(a):\n    return "Text."'),
    ],
)
def test_docstring_is_taken_out_and_nothing_else(source: str, expected: str) -> None:
    found = without_docstring(source)
    assert found is not None
    assert found[0] == expected
    assert found[1].startswith("Text.")


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return a",
        'def f(a):\n    """Text."""',
        'def f(a):\n    """Text."""\n    pass',
        'def f(a):\n    """Text."""\n    ...',
        'def f(a):\n    """Text."""\n    raise NotImplementedError',
        'def f(a):\n    """Text."""\n    raise NotImplementedError("later")',
        'def f(a): """Text."""; return a',
        'def f(a):\n    """Text."""; return a',
        'def f(a):\n    """Text."""\n    """Second text."""\n    return a',
        'def f(a):\n    """"""\n    return a',
        'class F:\n    """Text."""\n    a = 1',
        "def f(:",
        "",
    ],
)
def test_functions_that_no_sentence_can_be_told_from_are_left_out(source: str) -> None:
    assert without_docstring(source) is None


@pytest.mark.parametrize(
    ("answer", "leaked"),
    [
        ("Return the mean.", True),
        ("return   THE mean", True),
        ("Return the median.", False),
    ],
)
def test_an_answer_in_a_comment_or_a_message_is_a_leak(answer: str, leaked: bool) -> None:
    assert is_leaked(answer, "def f(a):\n    # Return the mean.\n    return a") is leaked
    assert is_leaked(answer, 'def f(a):\n    raise ValueError("return the mean, now")') is leaked


def test_row_asks_and_answers_in_chat_form() -> None:
    row = chat_row(Item("json/decoder.py", "def f():\n    return 1\n", "Return one."))
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["messages"][0]["content"] == question("def f():\n    return 1\n")
    assert row["messages"][1]["content"] == "Return one."


def test_rows_are_told_with_their_files() -> None:
    facts = {
        "items": {"train": 2310, "validation": 40, "test": 308},
        "files": {"train": 237, "validation": 10, "test": 49},
    }
    assert rows_line(facts).startswith("2,310 rows to train on (237 files), 40 for validation (10 files), 308 test")


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("Return the mean.", "return the mean", 1.0),
        ("Return the mean.", "", 0.0),
        ("a b c d", "a c", 2 / 3),
        ("a b", "b a", 0.5),
    ],
)
def test_overlap_counts_words_in_order(reference: str, answer: str, expected: float) -> None:
    assert overlap(reference, answer) == pytest.approx(expected)
    assert mean_overlap([(reference, answer), (reference, reference)]) == pytest.approx((expected + 1) / 2)


def answered(tuned: str | None, base: str = "def nothing(): pass") -> list[Answered]:
    """Every question, answered the same; as its reference says where ``tuned`` is None."""
    return [Answered(one, one.reference if tuned is None else tuned, base) for one in QUESTIONS]


def test_answers_that_are_one_line_and_closer_than_the_bases_will_do() -> None:
    assert objection(answered(None)) is None


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        (" \n", "no answer"),
        ("def area(r):\n    return 3", "no line of prose"),
        ("```python", "no line of prose"),
        ("Entirely beside every point.", "no closer"),
    ],
)
def test_answers_that_will_not_do_are_refused(tuned: str, said: str) -> None:
    found = objection(answered(tuned))
    assert found is not None
    assert said in found


def test_one_bad_answer_is_not_the_end() -> None:
    answers = answered(None)
    answers[0] = Answered(QUESTIONS[0], "def area(r):\n    return 3", "no")
    assert objection(answers) is None


def test_the_demos_own_questions_stand_in_no_file() -> None:
    texts = [file.text for file in read_library(library_root())]
    for one in QUESTIONS:
        source = one.text.partition("\n\n")[2]
        assert isinstance(ast.parse(source).body[0], ast.FunctionDef)
        assert not any(source in text for text in texts)
        assert not is_leaked(one.reference, one.text)
