"""Parquet, whose library only the images have, and every container through the prepare command."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_contract import Dataset, ExitCode, KubeTuneError
from kubetune_shared.rows import Row, digest, read, read_rows
from tests.support.malformed import BAD, CASES, Case
from tests.support.parquets import COLUMNS, odd_table
from tests.support.points import Record
from tests.support.row_cases import DATA
from tests.support.training import Jobs

ROWS = 500
PAIRS = [{"prompt": f"{n}, =", "completion": f"{n}"} for n in range(1, ROWS + 1)]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def parquet(path: Path, rows: list[dict[str, Any]] | pa.Table, **options: Any) -> Path:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, path, **options)
    return path


def rows_of(path: Path, **dataset: Any) -> list[Row]:
    return list(read_rows(path, Dataset("s3://data/x", **dataset)))


def refusal(path: Path) -> str:
    with pytest.raises(KubeTuneError) as caught:
        rows_of(path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "MalformedRow")
    return caught.value.message


@pytest.mark.parametrize("name", ["train.parquet", "data"])
def test_same_rows_as_json_lines(tmp_path: Path, name: str) -> None:
    lines = tmp_path / "train.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    rows = rows_of(parquet(tmp_path / name, PAIRS, row_group_size=100))
    assert [row.line for row in rows] == list(range(1, ROWS + 1))
    assert digest(rows) == digest(rows_of(lines))


def test_chats_with_members_that_only_some_messages_have(tmp_path: Path) -> None:
    chats = [{"messages": [*CHAT, {**CHAT[1], "weight": 0}]}, {"messages": [{**CHAT[0], "tool_calls": None}, CHAT[1]]}]
    found = rows_of(parquet(tmp_path / "a.parquet", chats))
    assert [row.content() for row in found] == [chats[0], {"messages": CHAT}]
    said = [{"talk": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], "id": 3}]
    found = rows_of(parquet(tmp_path / "b.parquet", said), columns={"conversations": "talk"})
    assert found[0].content() == {"messages": CHAT}


def tool_chat(name: str, **arguments: object) -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"} for argument in arguments}}
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}}]
    return {"messages": [CHAT[0], called, {"role": "tool", "content": "x", "name": name}, CHAT[1]], "tools": tools}


def test_tools_in_columns_of_objects_and_of_text(tmp_path: Path) -> None:
    chats = [tool_chat("fox", n="1"), tool_chat("dog", city="Oslo", when="now")]
    found = rows_of(parquet(tmp_path / "a.parquet", chats))
    assert [row.content() for row in found] == chats
    text = [{name: json.dumps(value) for name, value in chat.items()} for chat in chats]
    assert digest(rows_of(parquet(tmp_path / "b.parquet", text))) == digest(found)


def test_bad_rows_are_named(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {**row, "completion": None} if n in {3, 250} else row for n, row in enumerate(PAIRS, 1)
    ]
    bad[498] = {**PAIRS[498], "completion": " "}
    message = refusal(parquet(tmp_path / "a.parquet", bad))
    assert message.startswith("dataset a.parquet rows 3, 250: has no completion")
    assert "; row 499: completion is empty; missing: Drop in spec.dataset leaves out the 3 rows (0.6%) with" in message
    assert message.endswith("(3 of 500 rows are malformed)")
    numbers = parquet(tmp_path / "b.parquet", [{"prompt": n, "completion": "x"} for n in range(2)])
    assert "rows 1, 2: prompt is a number, not text" in refusal(numbers)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    text = [b"\xff" if n == 250 else b"x" for n in range(1, ROWS + 1)]
    column = pa.Array.from_buffers(pa.string(), ROWS, pa.array(text, pa.binary()).buffers())
    message = refusal(parquet(tmp_path / "a.parquet", pa.table({"text": column})))
    assert message == "dataset a.parquet row 250: holds text that is not UTF-8; write the file again"


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", PAIRS)
    path.write_bytes(path.read_bytes()[:-100])
    message = refusal(path)
    assert message.startswith("dataset a.parquet is not a Parquet file that can be read (")
    assert "damaged or cut off" in message


def test_a_damaged_page_names_the_row_it_begins_with(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", PAIRS, row_group_size=100, compression="gzip")
    start = pq.read_metadata(path).row_group(2).column(0).dictionary_page_offset
    raw = bytearray(path.read_bytes())
    raw[start : start + 200] = bytes(200)
    path.write_bytes(raw)
    message = refusal(path)
    assert message.startswith("dataset a.parquet row 201: is in a damaged part of the file (")


@pytest.mark.intake
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_that_nobody_uses_are_no_matter(tmp_path: Path, column: str, record_property: Record) -> None:
    done = read(parquet(tmp_path / "a.parquet", odd_table(column)), Dataset("s3://data/x"))
    assert [row.content() for row in done.rows] == PAIRS[:2]
    assert dict(done.counted.unused) == {column: 1}
    record_property("point", f"rows, Parquet, {column} in a column that nobody uses: read, told as not used")


@pytest.mark.intake
def test_nanoseconds_of_a_public_report(record_property: Record) -> None:
    done = read(DATA / "pq-ns-created-at.parquet", Dataset("s3://data/x"))
    assert [(row.prompt, row.completion) for row in done.rows] == [("Where is it?", "Here."), ("And now?", "There.")]
    assert dict(done.counted.unused) == {"created_at": 2}
    record_property("point", "rows, Parquet, nanoseconds of a public report: read, created_at is not used")


def test_dates_inside_messages_are_no_matter(tmp_path: Path) -> None:
    when = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    chat = [{**message, "at": when, "tags": ["x"]} for message in CHAT]
    done = read(parquet(tmp_path / "a.parquet", [{"messages": chat}, {"messages": CHAT}]), Dataset("s3://data/x"))
    assert [row.content() for row in done.rows] == [{"messages": CHAT}] * 2
    assert dict(done.counted.unused) == {"messages[].at": 1, "messages[].tags": 1}


def test_a_date_where_text_is_wanted_is_told(tmp_path: Path) -> None:
    when = [{"prompt": "a", "completion": datetime.date(2024, 1, 1)}]
    assert "row 1: completion is a date or time, not text" in refusal(parquet(tmp_path / "a.parquet", when))


def test_text_in_dictionaries_and_columns_by_other_names(tmp_path: Path) -> None:
    table = pa.table({"Question": pa.array(["a", "b"]).dictionary_encode(), "Answer": ["c", "d"]})
    done = read(parquet(tmp_path / "a.parquet", table), Dataset("s3://data/x"))
    assert [row.prompt for row in done.rows] == ["a", "b"]
    assert (done.columns, done.confidence) == ({"prompt": "Question", "completion": "Answer"}, 0.9)


def parquet_cases(folder: Path) -> dict[str, Case]:
    """Those that need pyarrow to be written."""
    bad = [{**row, "completion": " "} if n in BAD else row for n, row in enumerate(PAIRS, 1)]
    whole = parquet(folder / "whole.parquet", PAIRS).read_bytes()
    return {
        "Parquet row": Case(
            parquet(folder / "bad.parquet", bad).read_bytes(), "completion is empty", "a.parquet", "rows 3, 250, 499"
        ),
        "Parquet cut off": Case(whole[:-100], "damaged or cut off", "a.parquet", ""),
        "Parquet that is none": Case(b"prompt,completion\n", "damaged or cut off", "a.parquet", ""),
    }


@pytest.mark.training
def test_every_kind_of_malformed_file_stops_the_job(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    cases = CASES | parquet_cases(tmp_path)
    for kind, case in cases.items():
        job = jobs.job()
        job.config = dataclasses.replace(job.config, dataset=Dataset(jobs.data(case.content, case.name)))
        assert job.run("prepare") == ExitCode.BAD_DATA, kind
        case.check(job.termination["reason"], job.termination["message"])
    record_property(
        "point", f"malformed files of 500 rows, {len(cases)} kinds: each refused with its exact lines and why"
    )


def test_every_container_is_prepared_alike(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in PAIRS)
    table = "prompt,completion\n" + "".join(f'"{row["prompt"]}",{row["completion"]}\n' for row in PAIRS)
    files = {
        "a.jsonl": lines.encode(),
        "a.json": json.dumps(PAIRS).encode(),
        "a.csv": table.encode(),
        "a.parquet": parquet(tmp_path / "a.parquet", PAIRS).read_bytes(),
        "a.jsonl.gz": gzip.compress(lines.encode()),
    }
    uris = [jobs.data(content, name) for name, content in files.items()]
    for uri, held in zip(uris, reversed(uris), strict=True):
        job = jobs.job()
        job.config = dataclasses.replace(job.config, dataset=Dataset(uri, validation_uri=held))
        assert job.run("prepare") == ExitCode.OK, job.log
        assert "prepared 500 training and 500 validation rows" in job.log
    record_property("point", f"{', '.join(files)}: the same 500 rows, for training and validation")


def test_damaged_validation_rows_are_named_too(jobs: Jobs, tmp_path: Path) -> None:
    held = parquet(tmp_path / "held.parquet", [{"prompt": "x", "completion": ""}]).read_bytes()
    job = jobs.job(dataset={"validation_uri": jobs.data(held, "held.parquet")})
    assert job.run("prepare") == ExitCode.BAD_DATA
    assert job.termination["message"].startswith("dataset held.parquet row 1: completion is empty; missing: Drop")
