"""Rows of every accepted shape, and a clear message for every broken one."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import Dataset, ExitCode, KubeTuneError, RowFormat
from kubetune_shared.rows import Row, digest, load_rows, read_rows, split, write_rows

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
SYSTEM = {"role": "system", "content": "s"}
SAID = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
PARTS = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]


def write(folder: Path, text: str | bytes, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path: Path, **dataset: object) -> list[Row]:
    return list(read_rows(path, Dataset("s3://data/train.jsonl", **dataset)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        ({"messages": CHAT}, {"messages": CHAT}),
        ({"prompt": "2+2=", "completion": "4"}, {"prompt": "2+2=", "completion": "4"}),
        ({"prompt": "", "completion": "4"}, {"prompt": "", "completion": "4"}),
        ({"instruction": "Add", "input": "2 2", "output": "4"}, {"prompt": "Add\n\n2 2", "completion": "4"}),
        ({"instruction": "Add", "input": "", "output": "4"}, {"prompt": "Add", "completion": "4"}),
        ({"instruction": "Add", "output": "4"}, {"prompt": "Add", "completion": "4"}),
        ({"text": "once upon", "id": 7}, {"text": "once upon"}),
        ({"messages": [*CHAT, {**CHAT[1], "weight": 0}]}, {"messages": [*CHAT, {**CHAT[1], "weight": 0}]}),
        ({"messages": [{**CHAT[0], "weight": 0}, {**CHAT[1], "weight": 1.0}]}, {"messages": CHAT}),
        ({"messages": [{"role": "developer", "content": "s"}, *CHAT]}, {"messages": [SYSTEM, *CHAT]}),
        ({"messages": [{"role": "user", "content": PARTS}, CHAT[1]], "tools": None}, {"messages": CHAT}),
        ({"conversations": SAID}, {"messages": CHAT}),
        ({"conversations": [{"from": "System", "value": "s"}, *SAID]}, {"messages": [SYSTEM, *CHAT]}),
        ({"conversations": SAID, "system": "s"}, {"messages": [SYSTEM, *CHAT]}),
        ({"conversations": CHAT}, {"messages": CHAT}),
        ({"conversations": [*SAID, {**SAID[1], "weight": 0}]}, {"messages": [*CHAT, {**CHAT[1], "weight": 0}]}),
    ],
)
def test_every_shape_is_recognised(tmp_path: Path, raw: dict[str, object], content: dict[str, object]) -> None:
    assert [row.content() for row in rows_of(write(tmp_path, json.dumps(raw)))] == [content]


def test_columns_are_renamed(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": "2+2=", "answer": "4", "text": "other"}\n')
    columns = {"prompt": "question", "completion": "answer"}
    assert rows_of(path, columns=columns)[0] == Row(1, prompt="2+2=", completion="4")


def test_same_rows_from_jsonl_json_and_csv(tmp_path: Path) -> None:
    records = [{"prompt": "a, b", "completion": 'say "x"'}, {"prompt": "two\nlines", "completion": "y"}]
    jsonl = write(tmp_path, "\ufeff" + "\n\n".join(map(json.dumps, records)))
    array = write(tmp_path, json.dumps(records, indent=1), "train.json")
    table = write(tmp_path, 'prompt,completion\n"a, b","say ""x"""\n"two\nlines",y\n', "train.csv")
    assert [row.line for row in rows_of(jsonl)] == [1, 3]
    assert [row.line for row in rows_of(array)] == [1, 2]
    assert [row.line for row in rows_of(table)] == [2, 3]
    assert digest(rows_of(jsonl)) == digest(rows_of(array)) == digest(rows_of(table))


def test_kind_is_seen_in_the_content_where_the_name_says_nothing(tmp_path: Path) -> None:
    assert len(rows_of(write(tmp_path, '[{"text": "a"}]', "rows"))) == 1
    assert len(rows_of(write(tmp_path, '{"text": "a"}\n{"text": "b"}', "train.json"))) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "a", "completion": ', "is not JSON"),
        ('{"prompt": "a"}', "has no completion"),
        ('{"prompt": "a", "completion": null}', "has no completion"),
        ('{"prompt": "a", "completion": "  "}', "completion is empty"),
        ('{"prompt": 3, "completion": "b"}', "prompt is a number, not text"),
        ('["a", "b"]', "is a list, not an object"),
        ('"a"', "is text, not an object"),
        ("{}", "has no prompt"),
        (b'{"prompt": "\xff", "completion": "b"}', "is not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | bytes, said: str) -> None:
    good = '{"prompt": "a", "completion": "b"}\n' * 16
    raw = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, good.encode() + raw + b"\n" + good.encode())
    with pytest.raises(KubeTuneError) as caught:
        rows_of(path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "MalformedRow")
    assert re.search(r"train.jsonl line 17( \(.*\))?: ", caught.value.message)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages is empty"),
        ("no list", "not a JSON list"),
        ({"role": "user"}, "messages is an object"),
        (["hi"], "message 1 is text"),
        ([{"role": "human", "content": "x"}], "the role 'human'"),
        ([{"role": "user", "content": None}], "message 1 (user) has null as content"),
        ([{"role": "user", "content": "x"}], "no assistant message"),
        ([*CHAT[:1], {"role": "assistant", "content": " "}], "no assistant message"),
        ([CHAT[0], {**CHAT[1], "weight": 0}], "every assistant message has weight 0"),
        ([CHAT[0], {**CHAT[1], "weight": 0.5}], "message 2 (assistant) has the weight 0.5"),
        ([CHAT[0], {**CHAT[1], "weight": True}], "has the weight True"),
        ([CHAT[0], {**CHAT[1], "weight": "1"}], "has the weight '1'"),
        ([{**CHAT[0], "weight": 1}, CHAT[1]], "message 1 (user) has weight 1, but only assistant messages"),
        ([{"role": "user", "content": [{"type": "image_url"}]}, CHAT[1]], "message 1 (user) has a list as content"),
        ([CHAT[0], {"role": "assistant", "content": "\ud83d"}], "message 2 (assistant) holds \\ud83d"),
    ],
)
def test_bad_messages(tmp_path: Path, messages: object, said: str) -> None:
    with pytest.raises(KubeTuneError, match="line 1: ") as caught:
        rows_of(write(tmp_path, json.dumps({"messages": messages})))
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([], "conversations is empty"),
        ([{"from": "narrator", "value": "x"}], "message 1 is from 'narrator'; known are system, human"),
        ([SAID[0], {"from": "gpt"}], "message 2 (assistant) has null as value"),
        (SAID[:1], "conversations has no assistant message"),
    ],
)
def test_bad_conversations(tmp_path: Path, said: object, problem: str) -> None:
    with pytest.raises(KubeTuneError, match="line 1: ") as caught:
        rows_of(write(tmp_path, json.dumps({"conversations": said})))
    assert problem in caught.value.message


def test_a_system_prompt_is_put_before(tmp_path: Path) -> None:
    chats = [{"messages": CHAT}, {"messages": [{**SYSTEM, "content": "own"}, *CHAT]}]
    weighted = {"messages": [{**CHAT[1], "weight": 0}, *CHAT]}
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in [*chats, weighted]))
    plain, own, third = rows_of(path, system_prompt="s")
    assert plain.content() == {"messages": [SYSTEM, *CHAT]}
    assert own.content() == chats[1]
    assert third.content() == {"messages": [SYSTEM, *weighted["messages"]]}
    asked = write(tmp_path, '{"prompt": "2+2=", "completion": "4"}\n{"prompt": "", "completion": "4"}\n')
    assert [row.prompt for row in rows_of(asked, system_prompt="s")] == ["s\n\n2+2=", "s"]
    with pytest.raises(KubeTuneError, match="line 1: is plain text, which has no place for systemPrompt"):
        rows_of(write(tmp_path, '{"text": "a"}'), system_prompt="s")


def test_conversations_under_another_name(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"dialogue": SAID}))
    assert rows_of(path, columns={"conversations": "dialogue"})[0].content() == {"messages": CHAT}


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.gz", "train.jsonl"])
def test_gzipped_files(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(b'{"text": "a"}\n{"text": "b"}\n')
    assert [row.text for row in rows_of(write(tmp_path, packed, name))] == ["a", "b"]
    table = gzip.compress(b"text\ta\n1\t2\n")
    assert [row.text for row in rows_of(write(tmp_path, table, "train.tsv.gz"))] == ["1"]
    with pytest.raises(KubeTuneError, match="damaged or cut off"):
        rows_of(write(tmp_path, packed[:-9], name))
    spread = gzip.compress(json.dumps({"text": [hex(n**9) for n in range(9000)]}, indent=1).encode())
    with pytest.raises(KubeTuneError, match="damaged or cut off"):
        rows_of(write(tmp_path, spread[: len(spread) // 2], name))


def test_all_faults_come_at_once_by_reason(tmp_path: Path) -> None:
    text = '{"text": "a"}\n' * 4 + '{"text": " "}\n' * 30 + '{"text": 1}\n{"other": "x"}\n'
    with pytest.raises(KubeTuneError) as caught:
        rows_of(write(tmp_path, text))
    assert caught.value.message == (
        "dataset train.jsonl lines 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 and 18 more: text is empty; line 35: text "
        "is a number, not text; line 36: has no text, which text rows need; missing: Drop in spec.dataset leaves out "
        "the 31 rows (86.1%) with missing cells (32 of 36 rows are malformed)"
    )


def test_any_number_of_faults_fits_a_termination_message(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": f"\u20ac{n}" + "\u20ac" * 5000, "content": "x"}]} for n in range(400)]
    with pytest.raises(KubeTuneError) as caught:
        rows_of(write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows)))
    message = caught.value.message
    assert len(message.encode()) <= 3000
    assert message.startswith("dataset train.jsonl line 1: message 1 has the role")
    assert message.endswith("for other reasons (400 of 400 rows are malformed)")


@pytest.mark.parametrize("content", ["", "\n\n", "[]", "prompt,completion\n"])
def test_no_rows(tmp_path: Path, content: str) -> None:
    name = {"[": "a.json", "p": "a.csv"}.get(content[:1], "a.jsonl")
    with pytest.raises(KubeTuneError) as caught:
        rows_of(write(tmp_path, content, name))
    assert caught.value.reason == "EmptyDataset"


def test_unknown_members_and_formats(tmp_path: Path) -> None:
    with pytest.raises(KubeTuneError, match="none of them is known as one to learn from") as caught:
        rows_of(write(tmp_path, '{"question": "x"}'))
    assert caught.value.reason == "UnknownColumns"
    with pytest.raises(KubeTuneError, match="no column 'question'"):
        rows_of(write(tmp_path, '{"text": "a"}'), columns={"prompt": "question"})
    with pytest.raises(KubeTuneError, match="has no messages"):
        rows_of(write(tmp_path, '{"text": "a"}'), format=RowFormat.MESSAGES)
    with pytest.raises(KubeTuneError, match="neither JSON lines"):
        rows_of(write(tmp_path, "\x00\x01....", "train"))


def test_csv_with_too_many_or_too_few_fields(tmp_path: Path) -> None:
    with pytest.raises(
        KubeTuneError, match=r"line 3: has another number of fields.*\(3, not 2\).*line 4: has another"
    ) as caught:
        rows_of(write(tmp_path, "prompt,completion\na,b\na,b,c\na\n", "train.csv"))
    assert "quote fields with commas" in caught.value.message


def test_rows_survive_being_kept(tmp_path: Path) -> None:
    rows = [Row(1, text="a\u2028b"), Row(2, prompt="", completion="x"), Row(9, messages=tuple(CHAT))]
    rows.append(Row(11, messages=(*CHAT, *CHAT), unlearned=(1,)))
    write_rows(rows, tmp_path / "kept.jsonl")
    assert load_rows(tmp_path / "kept.jsonl") == rows
    digests = {row.key() for row in rows}
    assert len(digests) == len(rows)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=60), st.floats(0.01, 0.5), st.randoms())
def test_split_is_a_partition_that_ignores_order(texts: list[str], share: float, chance: random.Random) -> None:
    rows = [Row(n, text=text) for n, text in enumerate(texts, 1)]
    if len(set(texts)) < 2:
        with pytest.raises(KubeTuneError, match="two different rows"):
            split(rows, share)
        return
    train, held = split(rows, share)
    assert train
    assert held
    assert sorted([*train, *held], key=lambda r: r.line) == rows
    assert not {r.text for r in train} & {r.text for r in held}
    chance.shuffle(rows)
    assert {r.text for r in split(rows, share)[1]} == {r.text for r in held}


def test_split_share_is_met_on_many_rows() -> None:
    rows = [Row(n, text=str(n)) for n in range(1, 4001)]
    assert len(split(rows, 0.1)[1]) == pytest.approx(400, abs=80)
    more = [*rows, *(Row(n, text=str(n)) for n in range(4001, 4101))]
    assert set(split(rows, 0.1)[1]) <= set(split(more, 0.1)[1])


@pytest.mark.parametrize(
    ("value", "group"),
    [("doc 7", "doc 7"), (7, "7"), ("7", "7"), (None, None), ("", None), (["a", 1], '["a", 1]'), (True, "true")],
)
def test_a_group_is_kept_beside_the_content(tmp_path: Path, value: object, group: str | None) -> None:
    raw = {"prompt": "2+2=", "completion": "4"}
    lines = "".join(json.dumps({**raw, name: value}) + "\n" for name in ("group", "document"))
    path = write(tmp_path, lines)
    assert [row.group for row in rows_of(path)] == [group, None]
    plain = Row(1, prompt="2+2=", completion="4")
    assert [row.key() for row in rows_of(path)] == [plain.key()] * 2
    renamed = write(tmp_path, json.dumps({**raw, "document": value}) + "\n")
    assert [row.group for row in rows_of(renamed, columns={"group": "document"})] == [group]


def test_a_column_named_for_groups_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"prompt": "2+2=", "completion": "4"}) + "\n")
    with pytest.raises(KubeTuneError, match=r"line 1: has no column 'document' \(columns.group\)"):
        rows_of(path, columns={"group": "document"})
