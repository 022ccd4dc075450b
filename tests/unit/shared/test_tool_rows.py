"""Chats with tools in every form they are written in, a clear message for every fault, and no loss on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import COLUMNS, Dataset, KubeTuneError
from kubetune_shared.rows import MEMBERS, Row, digest, load_rows, read_rows, split, spoken, write_rows

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "weather", "description": "Now, in a city", "parameters": SCHEMA}
TOOL = {"type": "function", "function": BARE}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
ASKED = {"role": "user", "content": "Oslo?"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]}
HEARD = {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"}
TOLD = {"role": "assistant", "content": "It rains."}
CHAT = [ASKED, CALLED, HEARD, TOLD]
PLAIN: list[dict[str, Any]] = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "rain"},
    TOLD,
]
SAID = [
    {"from": "human", "value": "Oslo?"},
    {"from": "function_call", "value": json.dumps(CALL["function"])},
    {"from": "observation", "value": "rain"},
    {"from": "gpt", "value": "It rains."},
]


def rows_of(folder: Path, *raw: object, name: str = "train.jsonl", columns: dict[str, str] | None = None) -> list[Row]:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in raw))
    return list(read_rows(path, Dataset(f"s3://data/{name}", columns=columns or {})))


def call_of(arguments: object, **function: object) -> list[dict[str, Any]]:
    """The chat of one call in the form that OpenAI writes it."""
    written = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments, **function}}
    return [ASKED, {"role": "assistant", "content": None, "tool_calls": [written]}, HEARD, TOLD]


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        ({"messages": CHAT, "tools": [TOOL]}, {"messages": CHAT, "tools": [TOOL]}),
        ({"messages": call_of('{"city": "Oslo"}'), "tools": [TOOL]}, {"messages": CHAT, "tools": [TOOL]}),
        ({"messages": CHAT, "tools": json.dumps([TOOL])}, {"messages": CHAT, "tools": [TOOL]}),
        ({"messages": CHAT, "tools": [BARE]}, {"messages": CHAT, "tools": [TOOL]}),
        ({"messages": CHAT}, {"messages": CHAT}),
        ({"messages": CHAT, "tools": []}, {"messages": CHAT}),
        ({"messages": json.dumps(CHAT), "tools": ""}, {"messages": CHAT}),
        ({"messages": [ASKED, TOLD], "tools": [TOOL]}, {"messages": [ASKED, TOLD], "tools": [TOOL]}),
        (
            {"messages": [ASKED, {**CALLED, "weight": 0}, HEARD, TOLD]},
            {"messages": [ASKED, {**CALLED, "weight": 0}, HEARD, TOLD]},
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "tool_calls": json.dumps([CALL["function"]])}, *PLAIN[2:]]},
            {"messages": PLAIN},
        ),
        (
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
                    {"role": "function", "name": "weather", "content": "rain"},
                    {**TOLD, "function_call": None, "tool_calls": None},
                ],
                "functions": [BARE],
            },
            {"messages": [*PLAIN[:2], {"role": "tool", "content": "rain", "name": "weather"}, TOLD], "tools": [TOOL]},
        ),
        ({"conversations": SAID, "tools": json.dumps([BARE])}, {"messages": PLAIN, "tools": [TOOL]}),
        (
            {"conversations": [SAID[0], {"from": "tool_call", "value": json.dumps([CALL, CALL])}]},
            {"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}]},
        ),
        (
            {"conversations": [*SAID[:2], {"from": "function_response", "value": "rain"}, SAID[3]], "tools": "[]"},
            {"messages": PLAIN},
        ),
        (
            {"conversations": [SAID[0], {"from": "gpt", "value": "Wait.", "tool_calls": [CALL]}, *SAID[2:]]},
            {"messages": [ASKED, {**PLAIN[1], "content": "Wait."}, *PLAIN[2:]]},
        ),
        ({"conversations": CHAT, "tools": [TOOL]}, {"messages": CHAT, "tools": [TOOL]}),
        ({"prompt": "a", "completion": "b", "tools": "[]"}, {"prompt": "a", "completion": "b"}),
    ],
)
def test_every_form_is_brought_to_one(tmp_path: Path, raw: dict[str, Any], content: dict[str, Any]) -> None:
    (row,) = rows_of(tmp_path, raw)
    assert row.content() == content
    write_rows([row], tmp_path / "kept.jsonl")
    assert load_rows(tmp_path / "kept.jsonl") == [row]


def test_the_column_of_tools_may_have_another_name(tmp_path: Path) -> None:
    columns = {"messages": "dialogue", "tools": "api"}
    with_tools, without = rows_of(
        tmp_path, {"dialogue": CHAT, "api": [TOOL], "tools": "of another kind"}, {"dialogue": CHAT}, columns=columns
    )
    assert with_tools.content() == {"messages": CHAT, "tools": [TOOL]}
    assert without.content() == {"messages": CHAT}
    assert set(MEMBERS) == set(COLUMNS)


def test_a_call_with_text_and_without_arguments(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "Wait.", "tool_calls": [{"function": {"name": "now"}}]}
    (row,) = rows_of(tmp_path, {"messages": [ASKED, message]})
    called = [{"type": "function", "function": {"name": "now", "arguments": {}}}]
    assert row.content() == {"messages": [ASKED, {"role": "assistant", "content": "Wait.", "tool_calls": called}]}
    assert spoken(row.content()["messages"][1]) == "assistant: Wait.\nnow({})"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"messages": call_of("{city")}, "message 2 (assistant): tool call 1 has arguments that are text but not JSON"),
        ({"messages": call_of("")}, "{} for a call without any"),
        ({"messages": call_of("[1]")}, "has a list as arguments, not an object"),
        ({"messages": call_of(3)}, "has a number as arguments"),
        ({"messages": call_of("{}", name=None)}, "message 2 (assistant): tool call 1 has no name"),
        ({"messages": [ASKED, {**CALLED, "tool_calls": ["x"]}]}, "tool call 1 is text, not an object with function"),
        ({"messages": [ASKED, {**CALLED, "tool_calls": [{**CALL, "type": "mcp"}]}]}, "has the type 'mcp'; only"),
        ({"messages": [ASKED, {**CALLED, "tool_calls": [{**CALL, "id": 7}]}]}, "tool call 1 has a number as id"),
        ({"messages": [ASKED, {**CALLED, "tool_calls": {"a": 1}}]}, "tool_calls is an object, not a list of calls"),
        ({"messages": [ASKED, {**CALLED, "tool_calls": "weather"}]}, "tool_calls is text that is not JSON"),
        ({"messages": [{**ASKED, "tool_calls": [CALL]}, TOLD]}, "message 1 (user) has tool calls, which only"),
        ({"messages": [ASKED, {**CALLED, "function_call": CALL["function"]}]}, "has tool_calls and function_call"),
        (
            {"messages": [*CHAT[:2], {**HEARD, "tool_call_id": 3}, TOLD]},
            "message 3 (tool) has a number as tool_call_id",
        ),
        ({"messages": [*CHAT[:2], {**HEARD, "content": None}, TOLD]}, "message 3 (tool) has null as content"),
        ({"messages": [ASKED, {**CALLED, "weight": 0}]}, "every assistant message has weight 0"),
        ({"messages": CHAT, "tools": "weather"}, "tools is text that is not JSON; write a list of function"),
        ({"messages": CHAT, "tools": {"weather": 1}}, "tools is an object, not a list of function definitions"),
        ({"messages": CHAT, "tools": ["weather"]}, "tools: item 1 is text, not an object with type function"),
        ({"messages": CHAT, "tools": [{"type": "function"}]}, "tools: item 1 has no function name"),
        ({"messages": CHAT, "tools": [{"type": "web_search", "name": "x"}]}, "tools: item 1 has the type 'web_search'"),
        (
            {"messages": CHAT, "tools": [{**BARE, "parameters": "x"}]},
            "weather has text as parameters, not a JSON schema",
        ),
        ({"messages": CHAT, "tools": [TOOL, BARE]}, "tools defines weather more than once"),
        ({"messages": CHAT, "tools": [TOOL], "functions": [BARE]}, "has tools and functions; keep tools"),
        ({"messages": CHAT, "tools": [{**BARE, "description": "\ud83d"}]}, "tools holds \\ud83d, half of a character"),
        (
            {"messages": [ASKED, {"role": "assistant", "function_call": {"name": "\ud83d"}}]},
            "message 2 (assistant) holds \\ud83d, half of a character",
        ),
        ({"messages": call_of({"city": "\ud83d"})}, "message 2 (assistant) holds \\ud83d, half of a character"),
        (
            {"conversations": [SAID[0], {"from": "function_call", "value": "x"}]},
            "message 2 (function_call) has a value",
        ),
        (
            {"conversations": [SAID[0], {"from": "function_call", "value": "[]"}]},
            "message 2 (function_call) calls nothing",
        ),
        (
            {"conversations": [SAID[0], {"from": "tool_call", "value": "{}"}]},
            "message 2 (tool_call): tool call 1 has no name",
        ),
        ({"prompt": "a", "completion": "b", "tools": [TOOL]}, "has tools, but promptCompletion rows have no place"),
    ],
)
def test_every_fault_names_message_member_and_remedy(tmp_path: Path, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(KubeTuneError, match=r"dataset train\.jsonl line 1: ") as caught:
        rows_of(tmp_path, raw)
    assert said in caught.value.message


def test_the_row_in_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    example = text.partition("## Tools")[2].partition("```json\n")[2].partition("```")[0]
    (row,) = rows_of(tmp_path, json.loads(example))
    assert [tool["function"]["name"] for tool in row.tools] == ["weather"]
    assert row.content()["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}


def test_tools_are_part_of_what_a_row_is(tmp_path: Path) -> None:
    other = {**CALLED, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather"}}]}
    raw = [{"messages": CHAT}, {"messages": CHAT, "tools": [TOOL]}, {"messages": [ASKED, other, HEARD, TOLD]}]
    rows = rows_of(tmp_path, *raw)
    assert len({row.key() for row in rows}) == len({digest([row]) for row in rows}) == 3
    assert [row.uses_tools for row in rows] == [True, True, True]
    train, held = split(rows_of(tmp_path, *raw, *raw), 0.3)
    assert not {row.key() for row in train} & {row.key() for row in held}


def test_rows_prepared_before_tools_were_known_load(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps({"line": 1, "messages": [ASKED, {**TOLD, "weight": 0}, TOLD]}) + "\n")
    assert load_rows(path) == [Row(1, messages=(ASKED, TOLD, TOLD), unlearned=(1,))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(min_size=1).filter(lambda name: bool(name.strip()))
CALLS = st.lists(st.tuples(NAMES, st.dictionaries(st.text(), JSON, max_size=3)), min_size=1, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(CALLS, st.text(), st.booleans(), st.dictionaries(st.text(), JSON, max_size=3))
def test_written_rows_load_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    called: list[tuple[str, dict[str, Any]]],
    content: str,
    as_text: bool,
    schema: dict[str, Any],
) -> None:
    calls = [{"function": {"name": n, "arguments": json.dumps(a) if as_text else a}} for n, a in called]
    tools = [{"name": name, "parameters": schema} for name in {name for name, _ in called}]
    message = {"role": "assistant", "content": content or None, "tool_calls": calls}
    folder = tmp_path_factory.mktemp("rows")
    raw = {"messages": [ASKED, message, {"role": "tool", "content": content}], "tools": json.dumps(tools)}
    rows = rows_of(folder, raw)
    assert [call["function"]["arguments"] for call in rows[0].content()["messages"][1]["tool_calls"]] == [
        arguments if as_text else without_nulls(arguments) for _, arguments in called
    ]
    write_rows(rows, folder / "kept.jsonl")
    loaded = load_rows(folder / "kept.jsonl")
    assert loaded == rows
    assert digest(loaded) == digest(rows)
