"""Items that a model was trained on are counted, and too many of them are no Go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import Gate, MetricName, Verdict
from kubetune_evaluator.items import Item, to_item
from kubetune_evaluator.seen import SHARE, Seen, doubts, marked, message, remarks, seen_items
from kubetune_evaluator.verdict import decide
from kubetune_shared.rowkeys import Known, RowKeys, trained
from kubetune_shared.rows import Row
from tests.support.points import Record

ROWS = [Row(n, prompt=f"question {n}", completion=f"answer {n}") for n in range(1, 201)]
GATE = Gate(MetricName.EXACT_MATCH)


def items(rows: list[Row]) -> list[Item]:
    return [item for row in rows if isinstance(item := to_item(row), Item)]


def count(trained_rows: list[Row], asked: list[Row]) -> int:
    found = seen_items(items(asked), [Known(trained(trained_rows), is_result=True)])
    assert found is not None
    return len(found)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ROWS, 150),
        (ROWS[:10], 10),
        (ROWS[::-1], 150),
        ([*ROWS[:150], Row(999, prompt="one more", completion="x")], 150),
        ([Row(row.line, prompt=(row.prompt or "").upper(), completion="other") for row in ROWS[:20]], 20),
        (
            [
                Row(
                    row.line,
                    messages=(
                        {"role": "system", "content": "Be kind."},
                        {"role": "user", "content": row.prompt},
                        {"role": "assistant", "content": "x"},
                    ),
                )
                for row in ROWS[:20]
            ],
            20,
        ),
        (ROWS[150:], 0),
    ],
    ids=["re-split", "subset", "reordered", "one row more", "other case and answers", "other format", "held out"],
)
def test_rows_are_found_however_their_file_was_changed(
    asked: list[Row], expected: int, record_property: Record
) -> None:
    assert count(ROWS[:150], asked) == expected
    record_property(
        "point", "trained rows are found in a subset, reordered, re-split, with more rows, in another format"
    )


def test_what_the_base_was_trained_on_counts_too() -> None:
    """A model is made of folders; each brings its keys or none."""
    base, adapter = (Known(trained(rows), is_result=True) for rows in (ROWS[:10], ROWS[10:20]))
    other = Known(None, is_result=False)
    assert seen_items(items(ROWS[:30]), [base, adapter]) == tuple(range(20))
    assert seen_items(items(ROWS[:30]), [base, other]) == tuple(range(10))
    assert seen_items(items(ROWS[:30]), [other, other]) is None
    assert seen_items(items(ROWS[:30]), [Known(RowKeys(), is_result=True)]) == ()


@given(st.integers(1, 2000), st.integers(0, 2000))
@settings(max_examples=300, deadline=None)
def test_the_share_that_forbids_a_go(total: int, seen: int) -> None:
    seen = min(seen, total)
    models = [Seen("candidate", seen, "ab")]
    found, told = doubts(models, "ab", total), remarks(models, total)
    assert bool(found) == (seen / total > SHARE)
    assert bool(found or told) == (seen > 0)
    for sentence in (*found, *told):
        assert f"candidate was trained on {seen} of the {total} items" in sentence
    assert decide(GATE, [], found).verdict is (Verdict.INCONCLUSIVE if found else Verdict.GO)


def test_without_row_keys_the_digest_is_all_there_is() -> None:
    old = Seen("candidate", None, "ab" * 32)
    assert "candidate was trained on exactly these rows" in doubts([old], "ab" * 32, 10)[0]
    assert doubts([old], "cd" * 32, 10) == ()
    assert "kept no row keys" in remarks([old], 10)[0]
    unknown = Seen("base", None, None)
    assert doubts([unknown], "ab" * 32, 10) == remarks([unknown], 10) == ()
    assert doubts([Seen("candidate", 0, "ab" * 32)], "ab" * 32, 10) == ()


def test_a_person_reads_the_count_whatever_the_verdict() -> None:
    found = doubts([Seen("candidate", 9, None)], "ab", 10)
    assert message("exactMatch -0.2: no gain", found, ()) == f"exactMatch -0.2: no gain. {found[0]}."
    assert message(f"{found[0]}.", found, ("One more",)) == f"{found[0]}. One more."
    assert message(None, found, ()) == f"{found[0]}."
    assert message(None, (), ()) is None


def test_items_that_were_seen_are_marked() -> None:
    lines: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert marked(lines, {"candidate": (1,), "base": (1, 2)}) == [
        {"id": "a"},
        {"id": "b", "seen": ["candidate", "base"]},
        {"id": "c", "seen": ["base"]},
    ]
