"""Whether a chat template writes all that a conversation holds about tools, and its reasoning. Pure.

Templates that know no tools mostly say nothing of it: they leave out definitions, calls or results. So each part is
replaced by a mark, and the marks are looked for in what the template makes of the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]
Render = Callable[[list[Message], list[dict[str, Any]] | None], str]
"""Messages and tools -> the text a template makes of them."""

DEFINITIONS = "the definitions of its tools"
CALLS = "its tool calls"
ARGUMENTS = "the arguments of its tool calls"
RESULTS = "the results of its tools"
BESIDE = "the text beside its tool calls"


def unwritten(render: Render, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[str]:
    """The kinds of parts that the template leaves out; empty when it writes all of them."""
    marks: dict[str, str] = {}

    def mark(kind: str) -> str:
        text = f"xq{len(marks):03d}qx"
        marks[text] = kind
        return text

    defined = [{**tool, "function": {**tool["function"], "name": mark(DEFINITIONS)}} for tool in tools]
    text = render([_marked(message, mark) for message in messages], defined or None)
    kinds = dict.fromkeys(kind for found, kind in marks.items() if found not in text)
    # They are missing with their call.
    return [kind for kind in kinds if kind != ARGUMENTS or CALLS not in kinds]


def reasoning_written(render: Render, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many of the answers' reasoning the template writes, and how many there are.

    Many templates leave it out of all answers but the last one, which is how their models were made.
    """
    marks = [f"xq{number:03d}qx" if message.get("reasoning_content") else "" for number, message in enumerate(messages)]
    there = sum(map(bool, marks))
    if not there:
        return 0, 0
    marked = [
        {**message, "reasoning_content": mark, "thinking": mark} if mark else message
        for message, mark in zip(messages, marks, strict=True)
    ]
    text = render(marked, list(tools) or None)
    return sum(bool(mark) and mark in text for mark in marks), there


def _marked(message: Message, mark: Callable[[str], str]) -> Message:
    if message["role"] == "tool":
        return {**message, "content": mark(RESULTS)} if message["content"].strip() else message
    if not message.get("tool_calls"):
        return message
    beside = {"content": mark(BESIDE)} if message["content"].strip() else {}
    return {**message, **beside, "tool_calls": [_marked_call(call, mark) for call in message["tool_calls"]]}


def _marked_call(call: dict[str, Any], mark: Callable[[str], str]) -> dict[str, Any]:
    name = mark(CALLS)
    arguments = {mark(ARGUMENTS): mark(ARGUMENTS)} if call["function"]["arguments"] else {}
    return {**call, "function": {**call["function"], "name": name, "arguments": arguments}}
