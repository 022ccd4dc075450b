"""Rows as people have them: each file is used as it is meant, or refused by its place; a line for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import Dataset, ExitCode, KubeTuneError
from kubetune_shared.rows import read
from tests.support.points import Record
from tests.support.row_cases import CASES, DATA, RowCase


@pytest.mark.intake
@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.what}" for case in CASES])
def test_rows_as_people_have_them(tmp_path: Path, case: RowCase, record_property: Record) -> None:
    dataset = Dataset("s3://data/x", **case.settings)
    what = f"rows, {case.kind}: {case.what}"
    if case.rows is None:
        with pytest.raises(KubeTuneError) as caught:
            read(case.write(tmp_path), dataset)
        assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, case.reason)
        assert case.said in caught.value.message
        record_property("point", f"{what}: refused, {case.reason}: {caught.value.message}")
        return
    done = read(case.write(tmp_path), dataset)
    assert tuple(row.content() for row in done.rows) == case.rows
    assert tuple(sorted(done.counted.unused)) == case.unused
    assert [told for told in done.counted.told if not any(part in told for part in case.told)] == []
    assert len(done.counted.told) == len(case.told)
    assert (done.columns, done.confidence, done.missing) == (case.columns, case.confidence, case.missing)
    said = [f"not used: {', '.join(case.unused)}"] * bool(case.unused) + [*done.counted.told]
    said += [f"{column} is read as {member}" for member, column in done.columns.items()]
    said += [f"{done.missing} left out"] * bool(done.missing)
    record_property("point", f"{what}: read, {len(done.rows)} rows{'; '.join(['', *said])}")


def test_every_file_of_the_reports_is_tried() -> None:
    """Parquet's is read where its library is: inside the images; the long rows belong to the model's positions."""
    elsewhere = {"pq-ns-created-at.parquet", "long-rows.jsonl"}
    assert {path.name for path in DATA.iterdir()} - {case.name for case in CASES} == elsewhere
