"""Chats: OpenAI's ``messages`` and ShareGPT's ``conversations``, checked message by message. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .jsontext import parse
from .malformed import MalformedError, MissingError, absent, characters, named
from .notes import Notes
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
LEARNED = ("weight", "loss", "train", "training")
"""Members of a message that say whether it is learned: OpenAI's, ms-swift's, and two of axolotl's users."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Members that hold what an assistant thinks before it answers; the first is what a Row keeps it under."""


@dataclass(frozen=True)
class Chat:
    """Messages of ``role`` and ``content``; ``unlearned`` are the indices of assistant messages with weight 0.

    An assistant's message may have ``tool_calls`` and ``reasoning_content``, a tool's message ``tool_call_id`` and
    ``name``.
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


@dataclass(frozen=True)
class ChatReader:
    """Reads one row's chat; ``tools`` are its definitions, and ``notes`` takes what is not used."""

    member: str = "messages"
    tools: tuple[dict[str, Any], ...] = ()
    notes: Notes = field(default_factory=Notes)

    def read(self, value: Any) -> Chat:
        """Raises MalformedError."""
        if self.member == "messages":
            items = _items(value, self.member, "role and content")
            return self._chat([self._message(number, item) for number, item in enumerate(items, 1)])
        items = _items(value, self.member, "from and value")
        return self._chat(
            [
                self._message(number, item) if _has_role(item) else self._said(number, item)
                for number, item in enumerate(items, 1)
            ]
        )

    def _chat(self, found: list[_Said]) -> Chat:
        answers = [said for said in found if said.answers]
        if not answers:
            raise MalformedError(
                f"{self.member} has no assistant message with content or a call, so there is nothing to learn"
            )
        for number, said in enumerate(found, 1):
            if said.message["role"] == "assistant" and said.learned and not said.answers:
                raise MissingError(
                    f"message {number} (assistant) is empty, so that saying nothing would be learned; fill it, or give "
                    "it weight 0"
                )
        if not any(said.learned for said in answers):
            raise MalformedError(f"{self.member}: every assistant message has weight 0, so there is nothing to learn")
        return Chat(
            tuple(said.message for said in found),
            tuple(index for index, said in enumerate(found) if not said.learned),
        )

    def _message(self, number: int, message: Any) -> _Said:
        if not isinstance(message, Mapping):
            raise MalformedError(f"message {number} is {named(message)}, not an object with role and content")
        role = message.get("role")
        role = _ROLE_SYNONYMS.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise MalformedError(f"message {number} has the role {role!r}; known roles are {', '.join(ROLES)}")
        return self._made(number, role, message, self._calls(number, role, message), text="content")

    def _said(self, number: int, message: Any) -> _Said:
        if not isinstance(message, Mapping):
            raise MalformedError(f"message {number} is {named(message)}, not an object with from and value")
        speaker = message.get("from")
        known = speaker.lower() if isinstance(speaker, str) else ""
        if known not in SPEAKERS:
            raise MalformedError(f"message {number} is from {speaker!r}; known are {', '.join(SPEAKERS)}")
        role = SPEAKERS[known]
        if known in _CALLERS:
            called = self._said_calls(message.get("value"), f"message {number} ({known})")
            return self._made(number, role, {**message, "value": None}, called, text="value")
        return self._made(number, role, message, self._calls(number, role, message), text="value")

    def _made(
        self, number: int, role: str, message: Mapping[str, Any], called: list[dict[str, Any]], *, text: str
    ) -> _Said:
        """The message in our form; its text is under ``text``."""
        # A call often comes without text: as null, or with no such member at all.
        content = "" if called and message.get(text) is None else message.get(text)
        made: dict[str, Any] = {"role": role, "content": self._content(number, role, content, text)}
        made |= {"tool_calls": called} if called else {}
        made |= _of_tool(number, message) if role == "tool" else {}
        made |= _reasoning(number, message) if role == "assistant" else {}
        learned = _learned(number, role, message)
        who = "role" if text == "content" else "from"
        own = {"tool": _OF_TOOLS, "assistant": REASONING}.get(role, ())
        self.notes.beside(message, (who, text, "tool_calls", "function_call", *LEARNED, *own), f"{self.member}[].")
        return _Said(made, learned)

    def _calls(self, number: int, role: str, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of ``tool_calls``, or of the single ``function_call`` that it replaced."""
        where = f"message {number} ({role})"
        made = self._called(message.get("tool_calls"), where)
        legacy = message.get("function_call")
        if made and legacy:
            raise MalformedError(f"{where} has tool_calls and function_call; keep tool_calls")
        made = self._called([legacy], where, "function_call.") if legacy else made
        if made and role != "assistant":
            raise MalformedError(f"{where} has tool calls, which only assistant messages can have")
        return made

    def _said_calls(self, value: Any, where: str) -> list[dict[str, Any]]:
        """Of one call or a list of them, mostly as JSON text."""
        text = isinstance(value, str)
        if text:
            try:
                value = parse(value)
            except (ValueError, RecursionError):
                raise MalformedError(f"{where} has a value that is not JSON; write {{name, arguments}}") from None
        made = self._called(value if isinstance(value, list) else [value], where, "value.", as_text=text)
        if not made:
            raise MalformedError(f"{where} calls nothing; write {{name, arguments}} as its value")
        return made

    def _called(
        self, value: Any, where: str, within: str = "tool_calls[].", *, as_text: bool = False
    ) -> list[dict[str, Any]]:
        return calls(value, where, self.tools, self.notes, f"{self.member}[].{within}", as_text=as_text)

    def _content(self, number: int, role: str, content: Any, text: str) -> str:
        where = f"message {number} ({role})"
        if isinstance(content, list) and content and all(_is_text_part(part) for part in content):
            for part in content:
                self.notes.beside(part, ("type", "text"), f"{self.member}[].{text}[].")
            content = "".join(part["text"] for part in content)
        if absent(content):
            raise MissingError(f"{where} has {named(content)} as {text}, not text")
        if not isinstance(content, str):
            raise MalformedError(f"{where} has {named(content)} as {text}, not text")
        return characters(content, where)


def chat_items(value: Any) -> list[Any]:
    """The messages of a chat as they are written; empty when it is none."""
    try:
        return _items(value, "", "")
    except MalformedError:
        return []


def _items(value: Any, member: str, parts: str) -> list[Any]:
    if isinstance(value, str) and value.strip():
        # A CSV field can only hold text.
        try:
            value = parse(value)
        except (ValueError, RecursionError):
            raise MalformedError(f"{member} is text that is not a JSON list") from None
    if absent(value) or value == [] or (isinstance(value, str) and not value.strip()):
        raise MissingError(f"{member} is empty, not a list of {parts}")
    if not isinstance(value, list):
        raise MalformedError(f"{member} is {named(value)}, not a list of {parts}")
    return value


def _has_role(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("from") is None and "role" in item


def _of_tool(number: int, message: Mapping[str, Any]) -> dict[str, str]:
    found = {name: message[name] for name in _OF_TOOLS if message.get(name) is not None}
    for name, value in found.items():
        _check_text(value, name, f"message {number} (tool)")
    return found


def _reasoning(number: int, message: Mapping[str, Any]) -> dict[str, str]:
    where = f"message {number} (assistant)"
    found = {name: message[name] for name in REASONING if message.get(name) not in (None, "")}
    for name, value in found.items():
        _check_text(value, name, where)
    if len(set(found.values())) > 1:
        raise MalformedError(f"{where} has {' and '.join(found)}, which differ; keep one")
    said = next(iter(found.values()), "")
    return {REASONING[0]: said} if said.strip() else {}


def _check_text(value: Any, name: str, where: str) -> None:
    if not isinstance(value, str):
        raise MalformedError(f"{where} has {named(value)} as {name}, not text")
    characters(value, where)


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _learned(number: int, role: str, message: Mapping[str, Any]) -> bool:
    """False for a message that is to be context only."""
    said = dict(_marks(number, role, message))
    if len(set(said.values())) > 1:
        raise MalformedError(
            f"message {number} ({role}) has {' and '.join(said)}, of which one says that it is learned and one that it "
            "is not; keep one"
        )
    if role != "assistant":
        for name, learned in said.items():
            if learned:
                value = "weight 1" if name == "weight" else f"{name}: true"
                raise MalformedError(f"message {number} ({role}) has {value}, but only assistant messages are learned")
        return True
    return all(said.values())


def _marks(number: int, role: str, message: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name in LEARNED:
        value = message.get(name)
        if value is None:
            continue
        # OpenAI's weight is a number; the others are true or false, which some tools write as a number.
        known = not isinstance(value, bool) if name == "weight" else True
        if isinstance(value, str) or not known or value not in (0, 1):
            wanted = "1 (learned) or 0 (context only)" if name == "weight" else "true (learned) or false (context only)"
            raise MalformedError(f"message {number} ({role}) has the {name} {value!r}; it is {wanted}")
        yield name, bool(value)
