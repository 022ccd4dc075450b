"""One example, and what is done with many: named by a digest, split, kept and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError


@dataclass(frozen=True)
class Row:
    """One example. Exactly one of ``messages``, ``prompt`` with ``completion``, and ``text`` is set.

    ``line`` is where the example begins in its file, counted from 1 (JSON array and Parquet: the item's number).
    """

    line: int
    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    unlearned: tuple[int, ...] = ()
    """Indices of the assistant messages that are context only (``weight: 0``)."""
    tools: tuple[dict[str, Any], ...] = ()
    """Definitions of the functions that a chat's assistant may call, in OpenAI's form."""
    group: str | None = None
    """What the example shares with others, for example their document. Who measures counts groups; nobody learns it, so
    it is no part of the content."""

    @property
    def uses_tools(self) -> bool:
        """Whether tools are defined, called or heard."""
        messages = self.messages or ()
        return bool(self.tools) or any(said["role"] == "tool" or said.get("tool_calls") for said in messages)

    def content(self) -> dict[str, Any]:
        """The example without its position, as the trainer and the evaluator take it."""
        if self.messages is not None:
            chat = {"messages": [self._message(index) for index in range(len(self.messages))]}
            return chat | {"tools": list(self.tools)} if self.tools else chat
        if self.text is not None:
            return {"text": self.text}
        return {"prompt": self.prompt, "completion": self.completion}

    def _message(self, index: int) -> dict[str, Any]:
        message = dict((self.messages or ())[index])
        return message | {"weight": 0} if index in self.unlearned else message

    def key(self) -> str:
        """SHA-256 of the content: equal examples have equal keys."""
        text = json.dumps(self.content(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def spoken(message: Mapping[str, Any]) -> str:
    """A message as a person would read it, calls of tools included."""
    called = [call["function"] for call in message.get("tool_calls", ())]
    lines = [f"{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})" for call in called]
    said = [message["content"]] if message["content"] or not lines else []
    return f"{message['role']}: " + "\n".join([*said, *lines])


def split(rows: Iterable[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; ``share`` of them, chosen by a hash of the content, are held out.

    Equal rows stay together, the order of the file does not matter, and each side gets at least one row.
    Raises KubeTuneError (BAD_DATA, TooFewRows) when there are fewer than two different rows.
    """
    everything = list(rows)
    keys = {row.key() for row in everything}
    if len(keys) < 2:
        raise KubeTuneError(
            ExitCode.BAD_DATA, "TooFewRows", "holding out a validation share needs at least two different rows"
        )
    held = {key for key in keys if int(key[:12], 16) / 16**12 < share}
    held = held or {min(keys)}
    if held == keys:
        held = keys - {max(keys)}
    return [r for r in everything if r.key() not in held], [r for r in everything if r.key() in held]


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 that names this sequence of examples, whatever file format it came from."""
    total = hashlib.sha256()
    for row in rows:
        total.update(row.key().encode())
    return total.hexdigest()


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Keeps rows as JSONL for ``load_rows``."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"line": row.line, **row.content()}) + "\n")


def load_rows(path: Path) -> list[Row]:
    """Rows kept by ``write_rows``."""
    with path.open(encoding="utf-8") as file:
        return [_loaded(json.loads(line)) for line in file]


def _loaded(data: dict[str, Any]) -> Row:
    if "messages" not in data:
        return Row(data["line"], prompt=data.get("prompt"), completion=data.get("completion"), text=data.get("text"))
    unlearned = tuple(index for index, message in enumerate(data["messages"]) if message.pop("weight", 1) == 0)
    return Row(data["line"], messages=tuple(data["messages"]), unlearned=unlearned, tools=tuple(data.get("tools", ())))
