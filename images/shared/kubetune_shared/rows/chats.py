"""Chats: OpenAI's ``messages`` and ShareGPT's ``conversations``, checked message by message. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .malformed import MalformedError, characters, named
from .tools import calls

ROLES = ("system", "user", "assistant", "tool")
_ROLE_SYNONYMS = {"developer": "system", "function": "tool"}
"""OpenAI's newer name of the one and older name of the other; these are what chat templates know."""
SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
"""Who speaks in a ShareGPT conversation -> our role."""
_CALLERS = ("function_call", "tool_call")
"""Speakers whose value is a call."""
_OF_TOOLS = ("tool_call_id", "name")
"""Members that a tool's message keeps."""


@dataclass(frozen=True)
class Chat:
    """Messages of ``role`` and ``content``; ``unlearned`` are the indices of assistant messages with weight 0.

    An assistant's message may have ``tool_calls``, a tool's message ``tool_call_id`` and ``name``.
    """

    messages: tuple[dict[str, Any], ...]
    unlearned: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Said:
    """One message, and whether it is learned if it is the assistant's."""

    message: dict[str, Any]
    learned: bool = True

    @property
    def answers(self) -> bool:
        """Whether the assistant says something, or calls a tool."""
        message = self.message
        return message["role"] == "assistant" and bool(message["content"].strip() or message.get("tool_calls"))


def openai_chat(value: Any, member: str = "messages") -> Chat:
    """Raises MalformedError."""
    return _chat([_message(n, item) for n, item in enumerate(_items(value, member, "role and content"), 1)], member)


def sharegpt_chat(value: Any, system: Any = None) -> Chat:
    """A conversation whose messages have ``from`` and ``value`` (or role and content); ``system`` is put before it.

    Raises MalformedError.
    """
    items = _items(value, "conversations", "from and value")
    found = [
        _message(n, item) if isinstance(item, Mapping) and "from" not in item and "role" in item else _said(n, item)
        for n, item in enumerate(items, 1)
    ]
    if isinstance(system, str) and system.strip() and found[0].message["role"] != "system":
        found.insert(0, _Said({"role": "system", "content": system}))
    return _chat(found, "conversations")


def _items(value: Any, member: str, parts: str) -> list[Any]:
    if isinstance(value, str):
        # A CSV field can only hold text.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise MalformedError(f"{member} is text that is not a JSON list") from None
    if not isinstance(value, list) or not value:
        raise MalformedError(f"{member} is {named(value) if value != [] else 'empty'}, not a list of {parts}")
    return value


def _chat(found: list[_Said], member: str) -> Chat:
    answers = [said for said in found if said.answers]
    if not answers:
        raise MalformedError(f"{member} has no assistant message with content or a call, so there is nothing to learn")
    if not any(said.learned for said in answers):
        raise MalformedError(f"{member}: every assistant message has weight 0, so there is nothing to learn")
    return Chat(
        tuple(said.message for said in found),
        tuple(index for index, said in enumerate(found) if not said.learned),
    )


def _message(number: int, message: Any) -> _Said:
    if not isinstance(message, Mapping):
        raise MalformedError(f"message {number} is {named(message)}, not an object with role and content")
    role = message.get("role")
    role = _ROLE_SYNONYMS.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise MalformedError(f"message {number} has the role {role!r}; known roles are {', '.join(ROLES)}")
    return _made(number, role, message, _calls(number, role, message), "content")


def _made(number: int, role: str, message: Mapping[str, Any], called: list[dict[str, Any]], member: str) -> _Said:
    """The message in our form; its text is under ``member``."""
    # A call often comes without text: as null, or with no such member at all.
    content = "" if called and message.get(member) is None else message.get(member)
    made: dict[str, Any] = {"role": role, "content": _content(number, role, content, member)}
    made |= {"tool_calls": called} if called else {}
    made |= _of_tool(number, message) if role == "tool" else {}
    return _Said(made, _learned(number, role, message))


def _calls(number: int, role: str, message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of ``tool_calls``, or of the single ``function_call`` that it replaced."""
    where = f"message {number} ({role})"
    made = calls(message.get("tool_calls"), where)
    legacy = message.get("function_call")
    if made and legacy:
        raise MalformedError(f"{where} has tool_calls and function_call; keep tool_calls")
    made = calls([legacy], where) if legacy else made
    if made and role != "assistant":
        raise MalformedError(f"{where} has tool calls, which only assistant messages can have")
    return made


def _of_tool(number: int, message: Mapping[str, Any]) -> dict[str, str]:
    found = {name: message[name] for name in _OF_TOOLS if message.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str):
            raise MalformedError(f"message {number} (tool) has {named(value)} as {name}, not text")
        characters(value, f"message {number} (tool)")
    return found


def _said(number: int, message: Any) -> _Said:
    if not isinstance(message, Mapping):
        raise MalformedError(f"message {number} is {named(message)}, not an object with from and value")
    speaker = message.get("from")
    known = speaker.lower() if isinstance(speaker, str) else ""
    if known not in SPEAKERS:
        raise MalformedError(f"message {number} is from {speaker!r}; known are {', '.join(SPEAKERS)}")
    role = SPEAKERS[known]
    if known in _CALLERS:
        called = _said_calls(message.get("value"), f"message {number} ({known})")
        return _made(number, role, {**message, "value": None}, called, "value")
    return _made(number, role, message, _calls(number, role, message), "value")


def _said_calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Of one call or a list of them, mostly as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise MalformedError(f"{where} has a value that is not JSON; write {{name, arguments}}") from None
    made = calls(value if isinstance(value, list) else [value], where)
    if not made:
        raise MalformedError(f"{where} calls nothing; write {{name, arguments}} as its value")
    return made


def _content(number: int, role: str, content: Any, member: str) -> str:
    if isinstance(content, list) and content and all(_text_part(part) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise MalformedError(f"message {number} ({role}) has {named(content)} as {member}, not text")
    return characters(content, f"message {number} ({role})")


def _text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _learned(number: int, role: str, message: Mapping[str, Any]) -> bool:
    """False for a message that is to be context only."""
    weight = message.get("weight")
    if weight is None:
        return True
    if isinstance(weight, bool) or weight not in (0, 1):
        raise MalformedError(
            f"message {number} ({role}) has the weight {weight!r}; it is 1 (learned) or 0 (context only)"
        )
    if role != "assistant":
        if weight == 1:
            raise MalformedError(f"message {number} ({role}) has weight 1, but only assistant messages are learned")
        return True
    return bool(weight)
