"""Rows of a dataset in one form, whatever they were written in: JSONL, a JSON array or CSV.

Every fault is reported with file, line and what to do; up to MAX_ERRORS of them at once, so that a user does not mend
a file one line per attempt.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import Dataset, ExitCode, KubeTuneError, RowFormat

MAX_ERRORS = 5
ROLES = ("system", "user", "assistant", "tool")
_SHAPES: dict[RowFormat, tuple[str, ...]] = {
    RowFormat.MESSAGES: ("messages",),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    RowFormat.INSTRUCTION: ("instruction", "output"),
    RowFormat.TEXT: ("text",),
}
MEMBERS = ("messages", "prompt", "completion", "instruction", "input", "output", "text")


@dataclass(frozen=True)
class Row:
    """One example. Exactly one of ``messages``, ``prompt`` with ``completion``, and ``text`` is set.

    ``line`` is where the example begins in its file, counted from 1 (for a JSON array: the item's number).
    """

    line: int
    messages: tuple[dict[str, str], ...] | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None

    def content(self) -> dict[str, Any]:
        """The example without its position, as the trainer and the evaluator take it."""
        if self.messages is not None:
            return {"messages": [dict(message) for message in self.messages]}
        if self.text is not None:
            return {"text": self.text}
        return {"prompt": self.prompt, "completion": self.completion}

    def key(self) -> str:
        """SHA-256 of the content: equal examples have equal keys."""
        text = json.dumps(self.content(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class _MalformedError(Exception):
    """What is wrong with one row."""


def read_rows(path: Path, dataset: Dataset) -> Iterator[Row]:
    """The file's rows in order, brought to one form.

    Raises KubeTuneError (BAD_DATA): MalformedRow with up to MAX_ERRORS faults once the file is read that far,
    EmptyDataset, or UnknownFormat.
    """
    errors: list[str] = []
    known: RowFormat | None = None if dataset.format is RowFormat.AUTO else dataset.format
    count = 0
    for line, raw in _parsed(path):
        try:
            members = _members(raw, dataset.columns)
            known = known or _detect(members)
            row = _normalised(line, members, known)
        except _MalformedError as error:
            errors.append(f"{_unit(path)} {line}: {error}")
            if len(errors) == MAX_ERRORS:
                break
            continue
        count += 1
        if not errors:
            yield row
    if errors:
        more = "; later rows were not looked at" if len(errors) == MAX_ERRORS else ""
        raise _bad("MalformedRow", f"dataset {path.name} {'; '.join(errors)}{more}")
    if not count:
        raise _bad("EmptyDataset", f"dataset {path.name} has no rows; give it at least one example")


def split(rows: Iterable[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; ``share`` of them, chosen by a hash of the content, are held out.

    Equal rows stay together, the order of the file does not matter, and each side gets at least one row.
    Raises KubeTuneError (BAD_DATA, TooFewRows) when there are fewer than two different rows.
    """
    everything = list(rows)
    keys = {row.key() for row in everything}
    if len(keys) < 2:
        raise _bad("TooFewRows", "holding out a validation share needs at least two different rows")
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
    if "messages" in data:
        return Row(data["line"], messages=tuple(data["messages"]))
    return Row(data["line"], prompt=data.get("prompt"), completion=data.get("completion"), text=data.get("text"))


def _bad(reason: str, message: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, reason, message)


def _kind(path: Path) -> str:
    """``json``, ``jsonl`` or ``csv``, by the name and, where that says nothing, by the first character."""
    by_name = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}.get(path.suffix.lower())
    with path.open("rb") as file:
        head = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if by_name == "json" and not head.startswith(b"["):
        # Many tools write JSON lines into a file called .json.
        return "jsonl"
    if by_name:
        return by_name
    if head.startswith((b"{", b"[")) or not head:
        return "json" if head.startswith(b"[") else "jsonl"
    raise _bad("UnknownFormat", f"dataset {path.name} is neither JSON lines, a JSON array nor a .csv file")


def _unit(path: Path) -> str:
    return "item" if _kind(path) == "json" else "line"


def _parsed(path: Path) -> Iterator[tuple[int, Any]]:
    """Pairs of position and parsed row; a row that cannot be parsed comes as the _MalformedError that says why."""
    readers = {"json": _parsed_json, "jsonl": _parsed_jsonl, "csv": _parsed_csv}
    try:
        yield from readers[_kind(path)](path)
    except UnicodeDecodeError as error:
        raise _bad(
            "MalformedRow", f"dataset {path.name}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error


def _parsed_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                if text:
                    yield line, json.loads(text)
            except UnicodeDecodeError as error:
                yield line, _MalformedError(f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8")
            except (json.JSONDecodeError, RecursionError) as error:
                yield line, _MalformedError(f"is not JSON ({_json_problem(error)}); write one JSON object per line")


def _json_problem(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"


def _parsed_json(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise _bad("MalformedRow", f"dataset {path.name} line {line}: is not JSON ({_json_problem(error)})") from error
    yield from enumerate(items, 1)


def _parsed_csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True, restkey="")
        try:
            start = 2
            for record in reader:
                extra = record.pop("", None)
                missing = [name for name, value in record.items() if value is None]
                if extra or missing:
                    yield (
                        start,
                        _MalformedError("has another number of fields than the header; quote fields with commas"),
                    )
                else:
                    yield start, record
                start = reader.line_num + 1
        except csv.Error as error:
            yield reader.line_num, _MalformedError(f"is not CSV ({error})")


def _members(raw: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row under our own member names."""
    if isinstance(raw, _MalformedError):
        raise raw
    if not isinstance(raw, Mapping):
        raise _MalformedError(f"is {_name(raw)}, not an object with members such as {', '.join(MEMBERS[:3])}")
    for member, column in columns.items():
        if column not in raw:
            # An instruction's input may be left out row by row.
            if member == "input":
                continue
            raise _MalformedError(f"has no column {column!r} (columns.{member}); it has {_listed(raw)}")
    members = {name: raw[name] for name in MEMBERS if name in raw}
    return members | {member: raw[column] for member, column in columns.items() if column in raw}


def _detect(members: Mapping[str, Any]) -> RowFormat:
    for kind, needed in _SHAPES.items():
        if all(name in members for name in needed):
            return kind
    raise _MalformedError(
        f"has {_listed(members) if members else 'no known members'}; expected messages, prompt and completion, "
        "instruction and output, or text (name other columns in dataset.columns)"
    )


def _normalised(line: int, members: Mapping[str, Any], kind: RowFormat) -> Row:
    missing = [name for name in _SHAPES[kind] if members.get(name) is None]
    if missing:
        raise _MalformedError(f"has no {' and no '.join(missing)}, which {kind} rows need")
    if kind is RowFormat.MESSAGES:
        return Row(line, messages=_messages(members["messages"]))
    if kind is RowFormat.TEXT:
        return Row(line, text=_text(members, "text"))
    if kind is RowFormat.PROMPT_COMPLETION:
        return Row(line, prompt=_text(members, "prompt", empty=True), completion=_text(members, "completion"))
    extra = _text(members, "input", empty=True) if members.get("input") is not None else ""
    prompt = _text(members, "instruction") + (f"\n\n{extra}" if extra else "")
    return Row(line, prompt=prompt, completion=_text(members, "output"))


def _text(members: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise _MalformedError(f"{name} is {_name(value)}, not text")
    if not empty and not value.strip():
        raise _MalformedError(f"{name} is empty")
    return value


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    if isinstance(value, str):
        # A CSV field can only hold text.
        try:
            value = json.loads(value)
        except ValueError:
            raise _MalformedError("messages is text that is not a JSON list") from None
    if not isinstance(value, list) or not value:
        raise _MalformedError(f"messages is {_name(value) if value != [] else 'empty'}, not a list of role and content")
    messages = tuple(_message(number, message) for number, message in enumerate(value, 1))
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise _MalformedError("messages has no assistant message with content, so there is nothing to learn")
    return messages


def _message(number: int, message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise _MalformedError(f"message {number} is {_name(message)}, not an object with role and content")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise _MalformedError(f"message {number} has the role {role!r}; known roles are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise _MalformedError(f"message {number} ({role}) has {_name(content)} as content, not text")
    return {"role": role, "content": content}


def _listed(members: Mapping[str, Any]) -> str:
    names = list(members)
    return ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _name(value: Any) -> str:
    return {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
    }.get(type(value).__name__, type(value).__name__)
