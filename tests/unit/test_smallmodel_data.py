"""The small model's corpus and questions: disjoint by file, checkable, the same on every run."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.demo.library import Part, SourceFile, functions, library_root, read_library
from tests.smallmodel.example import EXAMPLE
from tests.smallmodel.split import split_by_file
from tests.smallmodel.task import (
    MAX_CHARACTERS,
    MIN_CHARACTERS,
    Item,
    Limits,
    chat_row,
    majority_share,
    make_items,
    question,
)


@pytest.fixture(scope="module")
def library() -> list[SourceFile]:
    return read_library(library_root())


@pytest.fixture(scope="module")
def parts(library: list[SourceFile]) -> dict[Part, list[SourceFile]]:
    return split_by_file(library)


@pytest.fixture(scope="module")
def packaged(parts: dict[Part, list[SourceFile]]) -> dict[Part, list[SourceFile]]:
    """Without the modules outside packages: no question is about them, and reading them takes half of the time."""
    return {part: [file for file in files if file.package] for part, files in parts.items()}


@pytest.fixture(scope="module")
def items(packaged: dict[Part, list[SourceFile]]) -> dict[Part, list[Item]]:
    return make_items(packaged)


def test_library_is_the_interpreters_own_code(library: list[SourceFile]) -> None:
    paths = [file.path for file in library]
    assert "asyncio/streams.py" in paths
    assert not any("site-packages" in path or path.startswith(("test/", "encodings/")) for path in paths)
    assert paths == sorted(paths)
    assert len({file.text for file in library}) == len(library)


def test_every_file_serves_exactly_one_part(library: list[SourceFile], parts: dict[Part, list[SourceFile]]) -> None:
    dealt = [file.path for part in Part for file in parts[part]]
    assert sorted(dealt) == [file.path for file in library]


def test_split_does_not_depend_on_the_order_of_the_files(library: list[SourceFile]) -> None:
    assert split_by_file(list(reversed(library))) == split_by_file(library)


def test_modules_outside_packages_are_for_training_only(parts: dict[Part, list[SourceFile]]) -> None:
    assert all(file.package for part in (Part.TEST, Part.VALIDATION) for file in parts[part])


def test_a_file_that_is_most_of_its_package_is_not_held_out() -> None:
    files = [SourceFile("big/all.py", "x" * 900), *(SourceFile(f"big/{name}.py", "x" * 25) for name in "abcd")]
    parts = split_by_file(files)
    assert "big/all.py" in [file.path for file in parts[Part.TRAIN]]
    assert parts[Part.TEST]


def test_questions_come_from_files_of_their_own_part(
    parts: dict[Part, list[SourceFile]], items: dict[Part, list[Item]]
) -> None:
    for part in Part:
        assert {item.path for item in items[part]} <= {file.path for file in parts[part]}


def test_no_question_of_a_held_out_part_stands_in_the_training_text(
    packaged: dict[Part, list[SourceFile]], items: dict[Part, list[Item]]
) -> None:
    trained = {function.source for file in packaged[Part.TRAIN] for function in functions(file)}
    for part in (Part.VALIDATION, Part.TEST):
        assert not [item.path for item in items[part] if item.source in trained]


def test_test_items_are_many_and_even(items: dict[Part, list[Item]]) -> None:
    counts = Counter(item.answer for item in items[Part.TEST])
    assert sum(counts.values()) >= 200
    assert len(counts) == Limits().packages
    assert majority_share(items[Part.TEST]) <= 0.2


def test_training_knows_every_answer_of_the_test(items: dict[Part, list[Item]]) -> None:
    assert {item.answer for item in items[Part.TEST]} == {item.answer for item in items[Part.TRAIN]}


def test_questions_are_whole_functions_of_bounded_size(items: dict[Part, list[Item]]) -> None:
    for chosen in items.values():
        for item in chosen:
            assert MIN_CHARACTERS <= len(item.source) <= MAX_CHARACTERS
            assert isinstance(ast.parse(item.source).body[0], ast.FunctionDef | ast.AsyncFunctionDef)


def test_items_do_not_depend_on_the_order_of_the_files(packaged: dict[Part, list[SourceFile]]) -> None:
    some = {part: [file for file in files if file.package in {"email", "xml"}] for part, files in packaged.items()}
    reverse = {part: list(reversed(files)) for part, files in some.items()}
    assert make_items(some) == make_items(reverse)


def test_row_asks_and_answers_in_chat_form() -> None:
    row = chat_row(Item("json/decoder.py", "def f():\n    pass\n", "json"))
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["messages"][0]["content"] == question("def f():\n    pass\n")
    assert row["messages"][1]["content"] == "json"


def test_too_small_a_library_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="packages of this standard library"):
        make_items(split_by_file([SourceFile("json/decoder.py", "def f():\n    pass\n")]))


def test_a_file_that_does_not_parse_gives_no_functions() -> None:
    assert list(functions(SourceFile("lib2to3/bad.py", "print 'two'\n"))) == []


def test_example_question_is_of_the_trained_size_and_not_from_the_library(library: list[SourceFile]) -> None:
    assert MIN_CHARACTERS <= len(EXAMPLE) <= MAX_CHARACTERS
    assert not any("async def echo(" in file.text for file in library)
