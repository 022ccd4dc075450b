"""What becomes a test item, which ones are drawn, and what runs together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_evaluator.batching import batches
from kubetune_evaluator.items import Item, groups_of, select, to_item
from kubetune_shared.rows import Row
from tests.support.toolchats import CHAT, TOOL


def row(line: int, prompt: str | None = None) -> Row:
    return Row(line, prompt=prompt if prompt is not None else f"question {line}", completion="answer")


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_the_last_assistant_turn_is_the_reference() -> None:
    chat = Row(3, messages=(turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")))
    item = to_item(chat)
    assert isinstance(item, Item)
    assert item.reference == "d"
    assert item.messages == chat.messages[:3] if chat.messages else False
    assert item.question == "user: a\n\nassistant: b\n\nuser: c"


def test_what_follows_the_last_assistant_turn_is_no_part_of_the_item() -> None:
    short = to_item(Row(1, messages=(turn("user", "a"), turn("assistant", "b"))))
    long = to_item(Row(1, messages=(turn("user", "a"), turn("assistant", "b"), turn("user", "c"))))
    assert short == long


def test_earlier_calls_are_part_of_the_question() -> None:
    bare, told = (to_item(Row(2, messages=CHAT, tools=tools)) for tools in ((), (TOOL,)))
    assert isinstance(bare, Item)
    assert isinstance(told, Item)
    assert told.reference == "lazy dog"
    assert told.messages == CHAT[:3]
    assert told.tools == (TOOL,)
    assert bare.id != told.id
    assert told.question == 'user: hello\n\nassistant: fox({"n": 3})\n\ntool: quick'


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Row(3, messages=CHAT[:2], tools=(TOOL,)), "line 3 ends with a tool call as its answer"),
        (Row(4, text="plain"), "line 4 is plain text"),
        (Row(5, messages=(turn("assistant", "hello"),)), "line 5 has no user message"),
    ],
)
def test_rows_that_ask_nothing_are_refused_by_line(bad: Row, said: str) -> None:
    with pytest.raises(KubeTuneError, match=said) as caught:
        select([row(1), row(2), bad], None, 42)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "NoReference")


def test_errors_are_told_together_up_to_five() -> None:
    with pytest.raises(KubeTuneError, match=r"line 5 .*; and 2 more"):
        select([Row(line, text="x") for line in range(1, 8)], None, 42)


@pytest.mark.parametrize("rows", [[], [row(1)], [row(1, "same"), row(2, "same")]])
def test_fewer_than_two_items_are_refused(rows: list[Row]) -> None:
    with pytest.raises(KubeTuneError, match="at least 2"):
        select(rows, None, 42)


def test_duplicates_count_once() -> None:
    found = select([row(1, "a"), row(2, "b"), row(3, "a")], None, 42)
    assert [item.line for item in found.items] == [1, 2]
    assert (found.rows, found.duplicates) == (3, 1)


def items(*asked: tuple[str, str | None]) -> list[Item]:
    made = [to_item(replace(row(n, prompt), group=group)) for n, (prompt, group) in enumerate(asked, 1)]
    return [item for item in made if isinstance(item, Item)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([("a", None), ("b", None), ("c", None)], (0, 1, 2)),
        ([("a", "x"), ("b", "x"), ("c", "y")], (0, 0, 2)),
        # Equal prompts, whatever the case, the spaces and the form of their letters.
        ([("caf\u00e9  au lait", None), ("b", None), ("CAFE\u0301 au\nlait", None)], (0, 1, 0)),
        # A prompt in two documents makes one group of them.
        ([("a", "x"), ("b", "y"), ("c", "x"), ("b", "x"), ("d", "z")], (0, 0, 0, 0, 4)),
        # A group's name is no prompt.
        ([("x", None), ("b", "x")], (0, 1)),
    ],
)
def test_items_that_share_a_group_or_a_prompt_are_one_group(
    asked: list[tuple[str, str | None]], expected: tuple[int, ...]
) -> None:
    assert groups_of(items(*asked)) == expected


def test_a_group_does_not_change_what_an_item_is() -> None:
    alone, grouped = items(("a", None), ("a", "x"))
    assert alone.id == grouped.id
    assert (alone.group, grouped.group) == (None, "x")


@given(st.permutations([row(n) for n in range(30)]), st.integers(0, 3))
def test_the_draw_depends_on_content_and_seed_alone(rows: list[Row], seed: int) -> None:
    expected = {item.id for item in select([row(n) for n in range(30)], 10, seed).items}
    assert {item.id for item in select(rows, 10, seed).items} == expected


def test_a_larger_limit_keeps_the_items_and_another_seed_draws_others() -> None:
    rows = [row(n) for n in range(100)]
    ten, twenty = ({item.id for item in select(rows, limit, 1).items} for limit in (10, 20))
    assert ten < twenty
    assert ten != {item.id for item in select(rows, 10, 2).items}


@given(st.lists(st.integers(0, 120), max_size=30), st.integers(1, 7), st.integers(1, 40))
def test_batches_hold_every_prompt_that_fits_once_within_the_context(
    lengths: list[int], size: int, wanted: int
) -> None:
    made = batches(lengths, size, wanted, context=100)
    members = [member for batch in made for member in batch.members]
    assert sorted(members) == [i for i, length in enumerate(lengths) if 0 < length < 100]
    for batch in made:
        assert 1 <= len(batch.members) <= size
        longest = max(lengths[i] for i in batch.members)
        assert longest + batch.room <= 100
        # Whoever has less room than wanted runs alone, so that it takes none from others.
        assert batch.room == wanted or (len(batch.members) == 1 and longest + batch.room == 100)


def test_without_a_known_context_every_prompt_gets_its_room() -> None:
    made = batches([5, 500, 50], 2, 8, context=None)
    assert [(batch.members, batch.room) for batch in made] == [((1, 2), 8), ((0,), 8)]
