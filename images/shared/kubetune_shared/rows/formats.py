"""From a parsed row of any accepted shape to a Row, or to the reason why not. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from kubetune_contract import RowFormat

from .chats import Chat, openai_chat, sharegpt_chat
from .malformed import MalformedError, characters, listed, named
from .row import Row
from .tools import definitions

_SHAPES: dict[RowFormat, tuple[str, ...]] = {
    RowFormat.MESSAGES: ("messages",),
    RowFormat.SHAREGPT: ("conversations",),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    RowFormat.INSTRUCTION: ("instruction", "output"),
    RowFormat.TEXT: ("text",),
}
MEMBERS = ("messages", "conversations", "prompt", "completion", "instruction", "input", "output", "text", "tools")
GROUP = "group"
"""Member that says what an example shares with others; only an evaluation's dataset may rename it."""
_OPTIONAL = ("input", "tools")
"""May be missing row by row, also where a column is named for it."""
_BESIDE = {"messages": ("functions",), "conversations": ("system",)}
"""Members that mean something beside a chat: OpenAI's former name of tools, and what LLaMA-Factory's files have."""


def members_of(raw: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row under our own member names. Raises MalformedError."""
    if not isinstance(raw, Mapping):
        raise MalformedError(f"is {named(raw)}, not an object with members such as {', '.join(MEMBERS[:3])}")
    for member, column in columns.items():
        if column not in raw and member not in _OPTIONAL:
            raise MalformedError(f"has no column {column!r} (columns.{member}); it has {listed(raw)}")
    members = {name: raw[name] for name in (*MEMBERS, GROUP) if name in raw}
    members |= {member: raw[column] for member, column in columns.items() if column in raw}
    beside = (name for chat, names in _BESIDE.items() if chat in members for name in names)
    return members | {name: raw[name] for name in beside if name in raw}


def detect(members: Mapping[str, Any]) -> RowFormat:
    """The shape a row has. Raises MalformedError when it has none."""
    for kind, needed in _SHAPES.items():
        if all(members.get(name) is not None for name in needed):
            return kind
    raise MalformedError(
        f"has {listed(members) if members else 'no known members'}; expected messages, prompt and completion, "
        "instruction and output, conversations, or text (name other columns in dataset.columns)"
    )


def to_row(line: int, members: Mapping[str, Any], kind: RowFormat) -> Row:
    """Raises MalformedError."""
    row = _shaped(line, members, kind)
    group = members.get(GROUP)
    return row if group in (None, "") else dataclasses.replace(row, group=_name(group))


def _name(group: object) -> str:
    """Numbers and texts as they are written; 7 and "7" are one group, for CSV knows no numbers."""
    return group if isinstance(group, str) else json.dumps(group, sort_keys=True, ensure_ascii=False, default=str)


def _shaped(line: int, members: Mapping[str, Any], kind: RowFormat) -> Row:
    missing = [name for name in _SHAPES[kind] if members.get(name) is None]
    if missing:
        raise MalformedError(f"has no {' and no '.join(missing)}, which {kind} rows need{_other_shape(members, kind)}")
    if kind is RowFormat.MESSAGES:
        return _chat_row(line, openai_chat(members["messages"]), _tools(members))
    if kind is RowFormat.SHAREGPT:
        chat = sharegpt_chat(members["conversations"], members.get("system"))
        return _chat_row(line, chat, definitions(members.get("tools")))
    if members.get("tools") not in (None, [], "", "[]"):
        raise MalformedError(
            f"has tools, but {kind} rows have no place for them; write the row as messages, or leave tools out"
        )
    if kind is RowFormat.TEXT:
        return Row(line, text=_text(members, "text"))
    if kind is RowFormat.PROMPT_COMPLETION:
        return Row(line, prompt=_text(members, "prompt", empty=True), completion=_text(members, "completion"))
    extra = _text(members, "input", empty=True) if members.get("input") is not None else ""
    return Row(line, prompt=_joined(_text(members, "instruction"), extra), completion=_text(members, "output"))


def with_system(row: Row, prompt: str) -> Row:
    """The row with a system prompt: as the first message of a chat that has none, else before the prompt.

    Raises MalformedError for plain text, which has no place for it.
    """
    if row.messages is not None:
        if any(message["role"] == "system" for message in row.messages):
            return row
        return dataclasses.replace(
            row,
            messages=({"role": "system", "content": prompt}, *row.messages),
            unlearned=tuple(index + 1 for index in row.unlearned),
        )
    if row.text is not None:
        raise MalformedError("is plain text, which has no place for systemPrompt; leave systemPrompt out")
    return dataclasses.replace(row, prompt=_joined(prompt, row.prompt or ""))


def _chat_row(line: int, chat: Chat, tools: tuple[dict[str, Any], ...]) -> Row:
    return Row(line, messages=chat.messages, unlearned=chat.unlearned, tools=tools)


def _tools(members: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    found, legacy = definitions(members.get("tools")), definitions(members.get("functions"), "functions")
    if found and legacy:
        raise MalformedError("has tools and functions; keep tools")
    return found or legacy


def _other_shape(members: Mapping[str, Any], kind: RowFormat) -> str:
    try:
        other = detect(members)
    except MalformedError:
        return ""
    return f" (it is a {other} row: all rows of a dataset have one shape)" if other is not kind else ""


def _joined(first: str, second: str) -> str:
    return f"{first}\n\n{second}" if second else first


def _text(members: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = members[name]
    if not isinstance(value, str):
        hint = "; a list of messages belongs under messages" if isinstance(value, list) else ""
        raise MalformedError(f"{name} is {named(value)}, not text{hint}")
    if not empty and not value.strip():
        raise MalformedError(f"{name} is empty")
    return characters(value, name)
