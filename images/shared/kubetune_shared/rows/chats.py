"""Chats: OpenAI's ``messages`` and ShareGPT's ``conversations``, checked message by message. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .malformed import MalformedError, characters, named

ROLES = ("system", "user", "assistant", "tool")
_ROLE_SYNONYMS = {"developer": "system"}
"""OpenAI's newer name; chat templates know the older one."""
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
}
"""Who speaks in a ShareGPT conversation -> our role."""
_TOOL_SPEAKERS = {"tool", "function", "function_call", "function_response", "tool_call", "tool_response", "observation"}
_CALLS = ("tool_calls", "function_call")


@dataclass(frozen=True)
class Chat:
    """Messages of ``role`` and ``content``; ``unlearned`` are the indices of assistant messages with weight 0."""

    messages: tuple[dict[str, str], ...]
    unlearned: tuple[int, ...] = ()


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
    if isinstance(system, str) and system.strip() and found[0][0] != "system":
        found.insert(0, ("system", system, True))
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


def _chat(found: list[tuple[str, str, bool]], member: str) -> Chat:
    answers = [(content, learned) for role, content, learned in found if role == "assistant" and content.strip()]
    if not answers:
        raise MalformedError(f"{member} has no assistant message with content, so there is nothing to learn")
    if not any(learned for _, learned in answers):
        raise MalformedError(f"{member}: every assistant message has weight 0, so there is nothing to learn")
    return Chat(
        tuple({"role": role, "content": content} for role, content, _ in found),
        tuple(index for index, (_, _, learned) in enumerate(found) if not learned),
    )


def _message(number: int, message: Any) -> tuple[str, str, bool]:
    if not isinstance(message, Mapping):
        raise MalformedError(f"message {number} is {named(message)}, not an object with role and content")
    role = message.get("role")
    role = _ROLE_SYNONYMS.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise MalformedError(f"message {number} has the role {role!r}; known roles are {', '.join(ROLES)}")
    calls = next((name for name in _CALLS if message.get(name)), None)
    if calls:
        raise MalformedError(
            f"message {number} ({role}) has {calls}, which cannot be trained; write the call as content or leave the "
            "row out"
        )
    return role, _content(number, role, message.get("content")), _learned(number, role, message)


def _said(number: int, message: Any) -> tuple[str, str, bool]:
    if not isinstance(message, Mapping):
        raise MalformedError(f"message {number} is {named(message)}, not an object with from and value")
    speaker = message.get("from")
    role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        if isinstance(speaker, str) and speaker.lower() in _TOOL_SPEAKERS:
            raise MalformedError(
                f"message {number} is from {speaker!r}: conversations with tools are not supported; leave the row out"
            )
        raise MalformedError(f"message {number} is from {speaker!r}; known are {', '.join(name for name in SPEAKERS)}")
    return role, _content(number, role, message.get("value"), "value"), _learned(number, role, message)


def _content(number: int, role: str, content: Any, member: str = "content") -> str:
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
