"""Whatever a file holds: it is read or refused by its place, and no member of it is lost without a word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import Dataset, ExitCode, KubeTuneError, Missing, RowFormat
from kubetune_shared.rows import MEMBERS, Rows, load_rows, read, write_rows
from kubetune_shared.rows.chats import LEARNED, REASONING, SPEAKERS

NAMES = st.sampled_from(
    [
        *MEMBERS,
        "system_prompt",
        "functions",
        "label",
        "kto_tag",
        "chosen",
        "rejected",
        "question",
        "answer",
        "Answer ",
        "x",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | NAMES, inner, max_size=3),
    max_leaves=6,
)
IN_MESSAGE = ["role", "content", "from", "value", "tool_calls", "function_call", "name", "tool_call_id", "x"]
CALL = st.fixed_dictionaries(
    {}, optional={"id": st.text(max_size=3), "type": JSON, "function": JSON, "name": JSON, "arguments": JSON, "x": JSON}
)
MESSAGE = st.dictionaries(
    st.sampled_from([*IN_MESSAGE, *LEARNED, *REASONING]),
    st.sampled_from(["user", "assistant", "tool", "system", *SPEAKERS]) | JSON | st.lists(CALL, max_size=2),
    max_size=6,
)
ROW = st.dictionaries(NAMES, JSON | st.lists(MESSAGE, max_size=3), max_size=5)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(RowFormat),
        "missing": st.sampled_from(Missing),
        "columns": st.dictionaries(st.sampled_from(MEMBERS), st.sampled_from(["x", "question", "Answer "]), max_size=2),
        "system_prompt": st.just("s"),
    },
)


def read_or_refused(path: Path, **dataset: Any) -> Rows | None:
    """None where it is refused, as it must be: with a code and a place."""
    try:
        return read(path, Dataset("s3://data/x", **dataset))
    except KubeTuneError as error:
        told = error
    assert told.code is ExitCode.BAD_DATA
    assert told.message.startswith(f"dataset {path.name} ")
    if told.reason == "MalformedRow":
        assert re.search(r"(line|item|row)s? \d+|damaged or cut off", told.message), told.message
    else:
        assert told.reason in {"EmptyDataset", "UnknownColumns", "PreferenceData", "UnknownFormat"}
    # It must be possible to write it down.
    assert told.message.encode()
    return None


BYTES = st.binary(max_size=200).filter(lambda content: not content.startswith(b"PAR1"))
"""Parquet is read where its library is: inside the images."""


@settings(max_examples=400, deadline=None)
@given(
    BYTES,
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a", "a.jsonl.gz"]),
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    read_or_refused(path)


@settings(max_examples=600, deadline=None)
@given(st.lists(ROW | JSON, min_size=1, max_size=4), SETTINGS, st.booleans())
def test_any_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], dataset: dict[str, Any], array: bool
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = folder / "a.json"
    path.write_text(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows))
    done = read_or_refused(path, **dataset)
    if done:
        write_rows(done.rows, folder / "kept.jsonl")
        assert [row.key() for row in load_rows(folder / "kept.jsonl")] == [row.key() for row in done.rows]
        assert done.total == len(done.rows) + done.missing


MARK = st.integers(0, 10**9).map("mark{}".format)
"""Text that is found again wherever it goes."""
BESIDE = st.dictionaries(st.sampled_from(["topic", "source", "Weight", "note one", "lang"]), MARK, max_size=3)
IN_CHAT = st.dictionaries(st.sampled_from(["name", "audio", "refusal", "reasoning_content", "id"]), MARK, max_size=3)


@st.composite
def valid_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row of some shape with members beside it, every value a mark."""
    question, answer = draw(MARK), draw(MARK)
    shape = draw(st.sampled_from(["pair", "instruction", "text", "chat", "said"]))
    if shape == "chat":
        call = {"function": {"name": draw(MARK), "arguments": {"a": draw(MARK)}, **draw(BESIDE)}, **draw(BESIDE)}
        asked = {"role": "user", "content": question, **draw(IN_CHAT)}
        told = {"role": "assistant", "content": answer, "tool_calls": [call], **draw(IN_CHAT)}
        row: dict[str, Any] = {"messages": [asked, told], "system": draw(MARK)}
    elif shape == "said":
        asked, told = {"from": "human", "value": question, **draw(IN_CHAT)}, {"from": "gpt", "value": answer}
        row = {"conversations": [asked, {**told, **draw(IN_CHAT)}], "system": draw(MARK)}
    elif shape == "instruction":
        row = {"instruction": question, "output": answer, "input": draw(MARK), "history": [[draw(MARK), draw(MARK)]]}
    else:
        row = {"prompt": question, "completion": answer} if shape == "pair" else {"text": question}
    return row | draw(BESIDE)


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Path -> text of every leaf."""
    if isinstance(value, dict):
        return [leaf for name, member in value.items() for leaf in leaves(member, f"{path}.{name}" if path else name)]
    if isinstance(value, list):
        return [leaf for member in value for leaf in leaves(member, f"{path}[]")]
    return [(path, value)]


ROLES = {"user", "assistant", "human", "gpt"}


@settings(max_examples=400, deadline=None)
@given(valid_rows())
def test_every_member_is_used_or_told(tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("beside") / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    done = read(path, Dataset("s3://data/x"))
    kept = json.dumps(done.rows[0].content())
    for where, text in leaves(row):
        assert text in ROLES or text in kept or where in done.counted.unused, (where, text)
    for name in done.counted.unused:
        assert name in {where for where, _ in leaves(row)}
