"""What is said of how files were read, and how sure the reading of their columns is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import UNUSED_LIMIT, Dataset, Missing
from kubetune_shared.rows import ENOUGH, SAMPLE, Counted, Rows, as_columns, read
from kubetune_shared.rows.columns import recognise
from kubetune_shared.rows.howread import columns_confidence, how_read, unused_members
from kubetune_shared.rows.notes import MOST_NAMES, Notes


def rows_of(folder: Path, *raw: Any, **dataset: Any) -> Rows:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in raw))
    return read(path, Dataset("s3://data/x", **dataset))


def said(*files: Rows) -> dict[str, str]:
    return {one.reason: one.message for one in how_read(files)}


def test_nothing_is_said_of_rows_that_are_read_as_they_stand(tmp_path: Path) -> None:
    plain = rows_of(tmp_path, {"prompt": "a", "completion": "b", "topic": None})
    assert how_read((plain, plain)) == ()
    assert (unused_members((plain,)), columns_confidence((plain,))) == ({}, None)


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    odd = rows_of(
        tmp_path,
        *({"Question": "q", "Answer": "a", "topic": n, "lang": "no"} for n in range(9)),
        {"Question": "q", "Answer": " ", "topic": 9},
        missing=Missing.DROP,
    )
    assert said(odd, odd) == {
        "ColumnsRecognised": "the columns are read as columns: {prompt: Question, completion: Answer} with a "
        "confidence of 0.81; write that into spec.dataset to be sure of it, or the right ones if it is wrong",
        "MissingCells": "2 of 20 rows (10.0%) lack a cell and are left out",
        "UnusedMembers": "nothing is learned from these members of the rows: lang (18 rows), topic (18 rows)",
    }


def test_many_and_odd_names_are_kept_short() -> None:
    counts = Counter({f"member {n}": 1000 - n for n in range(300)} | {"x" * 100: 5000, "\ud83d": 4000})
    found = unused_members((Rows(counted=Counted(counts)),))
    assert list(found)[:3] == [f"{'x' * 45}...", "?", "member 0"]
    assert len(found) == UNUSED_LIMIT
    assert sum(found.values()) == counts.total()
    wide = unused_members((Rows(counted=Counted(Counter({f"{n}{'ä' * 40}": 5 for n in range(9)}))),))
    assert (len(wide), wide["..."]) == (7, 15)
    message = said(Rows(counted=Counted(counts)))["UnusedMembers"]
    assert message.endswith("and 10 more (status.preflight.unusedMembers)")


def test_random_names_do_not_fill_the_memory() -> None:
    counted = Counted()
    for n in range(1000):
        counted.add(Notes(unused={f"x{n}"}))
    assert len(counted.unused) == MOST_NAMES + 1
    assert counted.unused.total() == 1000


@pytest.mark.parametrize(
    ("columns", "yaml"),
    [
        ({"prompt": "question", "completion": "answer"}, "columns: {prompt: question, completion: answer}"),
        ({"prompt": "my q"}, 'columns: {prompt: "my q"}'),
        ({"prompt": " a: b, {c}"}, 'columns: {prompt: " a: b, {c}"}'),
        ({"prompt": "no", "completion": "y"}, 'columns: {prompt: "no", completion: "y"}'),
        ({"prompt": "问题"}, 'columns: {prompt: "问题"}'),
    ],
)
def test_the_mapping_can_be_copied(columns: dict[str, str], yaml: str) -> None:
    assert as_columns(columns) == yaml


NAMES = ["question", "answer", "response", "customer_message", "support_reply", "text", "label", "input", "output", "x"]
TABLES = st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["a", "", None, 3]), min_size=1), min_size=1)


@given(TABLES)
def test_a_confidence_is_a_share_and_readings_share_it(rows: list[dict[str, Any]]) -> None:
    found = recognise(rows)
    assert found == sorted(found, key=lambda reading: -reading.confidence)
    assert 0 <= sum(reading.confidence for reading in found) <= 1.05
    assert sum(reading.confidence >= ENOUGH for reading in found) <= 1
    assert recognise(list(reversed(rows))[:SAMPLE]) is not None


@given(st.integers(0, 20), st.integers(1, 20))
def test_what_is_missing_lowers_the_confidence(missing: int, there: int) -> None:
    rows = [{"question": "q", "answer": "a"}] * there + [{"question": "q", "answer": None}] * missing
    assert recognise(rows)[0].confidence == pytest.approx(0.9 * there / (there + missing), abs=0.006)
