"""Rows as people have them, with the names that an earlier release gave them: ``python -m tests.support.former_rows``
prints those of the code that is on the path."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from kubetune_contract import Dataset
from kubetune_shared.rows import digest, read_rows

_ASKED: dict[str, Any] = {"role": "user", "content": "Oslo?"}
_TOLD: dict[str, Any] = {"role": "assistant", "content": "It rains."}
_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
_TEXT_CALL = {**_CALL, "function": {"name": "weather", "arguments": '{"city": "Oslo", "zone": null}'}}
_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "default": None}}}
_HEARD = {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"}
_SAID = [{"from": "human", "value": "Oslo?"}, {"from": "gpt", "value": "It rains."}]

FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pairs": ("a.jsonl", '{"prompt": "2+2=", "completion": "4"}\n{"prompt": "", "completion": " 5"}\n', {}),
    "pairs with more": ("a.jsonl", '{"prompt": "a", "completion": "b", "id": 7, "topic": "x", "text": "t"}\n', {}),
    "pairs in an array": ("a.json", '[{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]', {}),
    "pairs in CSV": ("a.csv", 'prompt,completion\n"a, b"," c"\nd,"e ""f"""\n', {}),
    "pairs in TSV": ("a.tsv", "prompt\tcompletion\na\tb\n", {}),
    "other columns": (
        "a.csv",
        "q,a,topic\nx,y,z\n",
        {"columns": {"prompt": "q", "completion": "a"}, "system_prompt": "Be brief."},
    ),
    "instructions": (
        "a.jsonl",
        '{"instruction": "Add", "input": "2 2", "output": "4"}\n{"instruction": "Say", "input": "", "output": "x"}\n',
        {"system_prompt": "Be brief."},
    ),
    "text": ("a.jsonl", '{"text": "once upon", "meta": {"source": "web"}}\n{"text": "a time"}\n', {}),
    "chats": (
        "a.jsonl",
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {"messages": [_ASKED, _TOLD], "prompt": "p", "prompt_id": "1"},
                {"messages": [_TOLD, _ASKED, {**_TOLD, "weight": 0}, _ASKED, {**_TOLD, "weight": 1}]},
                {"messages": [{"role": "developer", "content": "s"}, _ASKED, _TOLD]},
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}], "name": "Ada"}, _TOLD]},
            )
        ),
        {"system_prompt": "Be brief."},
    ),
    "chats with tools": (
        "a.jsonl",
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {
                    "messages": [_ASKED, {"role": "assistant", "content": None, "tool_calls": [_CALL]}, _HEARD, _TOLD],
                    "tools": [_TOOL],
                },
                {
                    "messages": [_ASKED, {"role": "assistant", "tool_calls": [_TEXT_CALL]}, _HEARD, _TOLD],
                    "tools": json.dumps([_TOOL]),
                },
                {"messages": json.dumps([_ASKED, _TOLD]), "tools": ""},
            )
        ),
        {},
    ),
    "ShareGPT": (
        "a.jsonl",
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {"conversations": _SAID, "system": "s", "id": "1"},
                {"conversations": [{"from": "system", "value": "own"}, *_SAID], "system": "s"},
                {"conversations": [_SAID[0], {"from": "function_call", "value": '{"name": "now", "arguments": {}}'}]},
                {"conversations": [_ASKED, _TOLD]},
            )
        ),
        {},
    ),
}
"""What it is -> name of the file, its text, and the dataset's settings."""


def digest_of(name: str, text: str, settings: dict[str, Any], folder: Path) -> str:
    """Of the file's rows."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return digest(read_rows(path, Dataset(f"s3://data/{name}", **settings)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for what, (name, text, settings) in FILES.items():
            print(f'    "{what}": "{digest_of(name, text, settings, Path(made))}",')
