"""Rows that were trained on are found again, whatever became of their file; others are not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_shared.rowkeys import RowKeys, asked, trained
from kubetune_shared.rows import Row
from tests.support.points import Record

TEXT = st.text(min_size=1, max_size=30).filter(lambda text: bool(text.split()))


def chat(*turns: str, system: str | None = None, unlearned: tuple[int, ...] = ()) -> Row:
    """Turns of user and assistant in turn."""
    said = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
    first = [{"role": "system", "content": system}] if system is not None else []
    return Row(1, messages=(*first, *said), unlearned=unlearned)


def seen(keys: RowKeys, row: Row) -> bool:
    """As an evaluation asks."""
    if row.messages is None:
        return any(key in keys for key in asked(None, row.prompt, row.completion or ""))
    last = max(number for number, message in enumerate(row.messages) if message["role"] == "assistant")
    return any(key in keys for key in asked(row.messages[:last], None, str(row.messages[last]["content"])))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_subset_in_another_order_is_found(pairs: list[tuple[str, str]], luck: random.Random) -> None:
    rows = [Row(n, prompt=prompt, completion=answer) for n, (prompt, answer) in enumerate(pairs)]
    keys = trained(rows)
    part = luck.sample(rows, luck.randint(1, len(rows)))
    assert all(seen(keys, row) for row in part)


@pytest.mark.parametrize(
    "changed",
    [
        "What is  the\tcapital of France?",
        "\n what is the CAPITAL of france? ",
        "Ｗhat is the capital of France?",
        "What is the capital of Fr\u0061nce?",
        "What is the capital of France\uff1f",
    ],
)
def test_case_spaces_and_unicode_forms_do_not_matter(changed: str) -> None:
    keys = trained([Row(1, prompt="What is the capital of France?", completion="Paris")])
    assert seen(keys, Row(1, prompt=changed, completion="another answer"))


@given(TEXT, TEXT)
@settings(max_examples=200, deadline=None)
def test_another_prompt_is_not_found(one: str, other: str) -> None:
    keys = trained([Row(1, prompt=f"{one} first", completion="x")])
    assert not seen(keys, Row(1, prompt=f"{other} second", completion="x"))


def test_every_learned_turn_of_a_chat_has_a_key() -> None:
    keys = trained([chat("a", "1", "b", "2", "c", "3", unlearned=(3,))])
    assert len(keys) == 2
    assert seen(keys, chat("A", "other"))
    assert seen(keys, chat("a", "1", "b", "2", "c", "other"))
    assert not seen(keys, chat("a", "1", "b", "other")), "that turn was context only"
    assert not seen(keys, chat("b", "2"))
    assert not seen(keys, chat("a", "another", "b", "2", "c", "3")), "another conversation"


def test_a_question_is_the_same_as_a_prompt_and_as_a_chat() -> None:
    assert seen(trained([Row(1, prompt="why?", completion="x")]), chat("Why?", "y"))
    assert seen(trained([chat("why?", "x")]), Row(1, prompt="Why?", completion="y"))


def test_a_text_that_was_learned_whole() -> None:
    keys = trained([Row(1, text="### Question: why? ### Answer: because")])
    assert seen(keys, Row(1, prompt="### Question: why? ### Answer:", completion=" because"))
    assert not seen(keys, Row(1, prompt="### Question: why? ### Answer:", completion=" no idea"))


def test_a_system_message_of_the_whole_file_hides_nothing() -> None:
    keys = trained([chat(f"q{n}", "a", system="Be kind.") for n in range(4)])
    assert seen(keys, chat("q1", "a", system="Be kind."))
    assert seen(keys, chat("q1", "a", system="Be brief."))
    assert seen(keys, chat("q1", "a"))
    assert seen(keys, Row(1, prompt="q1", completion="a"))
    bare = trained([chat(f"q{n}", "a") for n in range(4)])
    assert seen(bare, chat("q1", "a", system="Be kind."))


def test_a_system_message_that_is_the_row_tells_it_apart() -> None:
    """A document each, and always the same question."""
    keys = trained([chat("Summarise.", "s", system=f"document {n}") for n in range(9)])
    assert seen(keys, chat("Summarise.", "other", system="document 3"))
    assert not seen(keys, chat("Summarise.", "other", system="document 11"))


def test_nothing_is_asked_by_nothing() -> None:
    keys = trained([Row(1, prompt=" ", completion="x"), Row(2, messages=({"role": "assistant", "content": "hi"},))])
    assert len(keys) == 0
    assert asked((), None, "x") == frozenset()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.lists(st.integers(0, 2**64 - 1), max_size=50))
@settings(max_examples=50, deadline=None)
def test_a_file_of_keys(tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int]) -> None:
    path = tmp_path_factory.mktemp("keys") / "k"
    (RowKeys(first) | RowKeys(second)).write(path)
    found = RowKeys.read(path)
    assert list(found) == sorted({*first, *second})
    assert path.stat().st_size == 8 * len(found)
    assert all(key in found for key in first)
    assert all((key in found) == (key in {*first, *second}) for key in range(5))


def test_what_it_costs(tmp_path: Path, record_property: Record) -> None:
    rows: list[Any] = [Row(n, prompt=f"question number {n} about something", completion="x") for n in range(20_000)]
    keys = trained(rows)
    keys.write(tmp_path / "k")
    assert (tmp_path / "k").stat().st_size == 160_000
    record_property("point", "row keys: 8 bytes a row")
