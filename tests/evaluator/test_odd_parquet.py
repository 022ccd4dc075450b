"""Parquet as the trainer reads it: this image has no pandas, which pyarrow turns to for some dates."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kubetune_contract import Dataset
from kubetune_shared.rows import read
from tests.support.parquets import COLUMNS, odd_table
from tests.support.points import Record
from tests.support.row_cases import DATA


def test_there_is_no_pandas() -> None:
    assert importlib.util.find_spec("pandas") is None


@pytest.mark.intake
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_that_nobody_uses_are_no_matter(tmp_path: Path, column: str, record_property: Record) -> None:
    pq.write_table(odd_table(column), tmp_path / "a.parquet")
    done = read(tmp_path / "a.parquet", Dataset("s3://data/x"))
    assert [row.prompt for row in done.rows] == ["1, =", "2, ="]
    assert dict(done.counted.unused) == {column: 1}
    record_property("point", f"rows, Parquet in an evaluation, {column} in a column that nobody uses: read")


@pytest.mark.intake
def test_nanoseconds_of_a_public_report(record_property: Record) -> None:
    done = read(DATA / "pq-ns-created-at.parquet", Dataset("s3://data/x"))
    assert [row.prompt for row in done.rows] == ["Where is it?", "And now?"]
    record_property("point", "rows, Parquet in an evaluation, nanoseconds of a public report: read")
