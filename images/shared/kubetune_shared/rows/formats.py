"""From a parsed row of any accepted shape to a Row, or to the reason why not. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kubetune_contract import COLUMNS, GROUP, RowFormat

from .chats import ChatReader
from .jsontext import parse
from .malformed import MalformedError, MissingError, absent, characters, listed, named
from .notes import Notes, Told
from .preference import check_mark, is_pair, marks, pair_problem
from .row import Row
from .tools import definitions

SHAPES: dict[RowFormat, tuple[str, ...]] = {
    RowFormat.MESSAGES: ("messages",),
    RowFormat.SHAREGPT: ("conversations",),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    RowFormat.INSTRUCTION: ("instruction", "output"),
    RowFormat.TEXT: ("text",),
}
"""What rows of each shape need."""
MEMBERS = COLUMNS
"""Members that ``dataset.columns`` may name."""
SYSTEM = ("system", "system_prompt")
BESIDE: dict[RowFormat, tuple[str, ...]] = {
    RowFormat.MESSAGES: ("tools", "functions", *SYSTEM),
    RowFormat.SHAREGPT: ("tools", "functions", *SYSTEM),
    RowFormat.PROMPT_COMPLETION: SYSTEM,
    RowFormat.INSTRUCTION: ("input", "history", *SYSTEM),
    RowFormat.TEXT: (),
}
"""What is used beside that where a row has it: OpenAI's former name of tools, and members of Alpaca's and
LLaMA-Factory's files."""
OPTIONAL = ("input", "tools", "system", "history")
"""May be missing row by row, also where a column is named for it."""
_READ = frozenset((*MEMBERS, GROUP)) | {name for names in BESIDE.values() for name in names}
_NONE: tuple[Any, ...] = (None, [], "", "[]")


@dataclasses.dataclass(frozen=True)
class Members:
    """A row's cells under our names of members."""

    cells: Mapping[str, Any]
    columns: Mapping[str, str]
    """Our name -> the row's."""
    raw: Mapping[str, Any]

    def get(self, member: str) -> Any:
        """The cell, or None."""
        return self.cells.get(member)

    def named(self, member: str) -> str:
        """The member for a person who knows the file: with its column where that is called otherwise."""
        column = self.columns.get(member, member)
        return member if column == member else f"{member} (column {column!r})"

    def has(self, kind: RowFormat) -> bool:
        """Whether all that the shape needs is there."""
        return all(not absent(self.get(name)) for name in SHAPES[kind])


def members_of(raw: Any, columns: Mapping[str, str]) -> Members:
    """The row under our own member names. Raises MalformedError."""
    if not isinstance(raw, Mapping):
        raise MalformedError(f"is {named(raw)}, not an object with members such as {', '.join(MEMBERS[:3])}")
    for member, column in columns.items():
        if column not in raw and member not in OPTIONAL:
            raise MalformedError(f"has no column {column!r} (columns.{member}); it has {listed(raw)}")
    found = {name: name for name in raw if name in _READ}
    found |= {member: column for member, column in columns.items() if column in raw}
    return Members({member: raw[column] for member, column in found.items()}, found, raw)


def detect(members: Members) -> RowFormat | None:
    """The shape that a row has by our own names of members; None when it has none."""
    return next((kind for kind in SHAPES if members.has(kind)), None)


def to_row(line: int, members: Members, kind: RowFormat, system_prompt: str | None, notes: Notes) -> Row:
    """Raises MalformedError, MissingError for an empty cell."""
    _check_complete(members, kind)
    used = {members.columns[name] for name in (*SHAPES[kind], *BESIDE[kind], GROUP) if name in members.columns}
    if kind in (RowFormat.MESSAGES, RowFormat.SHAREGPT):
        row = _chat(line, members, kind, notes)
        used -= set(SYSTEM) if Told.SYSTEM_TWICE in notes.told else set()
        row = with_system(row, system_prompt) if system_prompt else row
    else:
        if members.get("tools") not in _NONE:
            raise MalformedError(
                f"has tools, but {kind} rows have no place for them; write the row as messages, or leave tools out"
            )
        used |= {members.columns[name] for name in ("tools",) if name in members.columns}
        row = (
            _text_row(line, members, system_prompt)
            if kind is RowFormat.TEXT
            else _answer(line, members, kind, system_prompt, notes)
        )
    notes.beside(members.raw, used | marks(members.raw, kind))
    group = members.get(GROUP)
    return row if group in (None, "") else dataclasses.replace(row, group=_name(group))


def _name(group: object) -> str:
    """Numbers and texts as they are written; 7 and "7" are one group, for CSV knows no numbers."""
    return group if isinstance(group, str) else json.dumps(group, sort_keys=True, ensure_ascii=False, default=str)


def _text_row(line: int, members: Members, system_prompt: str | None) -> Row:
    if system_prompt:
        raise MalformedError("is plain text, which has no place for systemPrompt; leave systemPrompt out")
    return Row(line, text=_text(members, "text"))


def _answer(line: int, members: Members, kind: RowFormat, system_prompt: str | None, notes: Notes) -> Row:
    if kind is RowFormat.PROMPT_COMPLETION:
        prompt, answer = _text(members, "prompt", empty=True), _text(members, "completion")
    else:
        extra = _text(members, "input", empty=True) if not absent(members.get("input")) else ""
        prompt, answer = _joined(_text(members, "instruction"), extra), _text(members, "output")
        prompt = _joined(*_history(members.get("history")), prompt)
    if not prompt.strip():
        notes.told.add(Told.EMPTY_PROMPT)
    return Row(line, prompt=_joined(_system(members) or system_prompt or "", prompt), completion=answer)


def with_system(row: Row, prompt: str) -> Row:
    """The chat with a system prompt as its first message, unless it has one anywhere."""
    if any(message["role"] == "system" for message in row.messages or ()):
        return row
    return _after(prompt, row)


def _check_complete(members: Members, kind: RowFormat) -> None:
    check_mark(members.raw, kind)
    missing = [name for name in SHAPES[kind] if absent(members.get(name))]
    if not missing:
        return
    if is_pair(members.raw):
        raise MalformedError(pair_problem(members.raw))
    said = f"has no {' and no '.join(map(members.named, missing))}, which {kind} rows need"
    other = detect(members)
    if other not in (None, kind):
        raise MalformedError(f"{said} (it is a {other} row: all rows of a dataset have one shape)")
    raise MissingError(said)


def _chat(line: int, members: Members, kind: RowFormat, notes: Notes) -> Row:
    member = SHAPES[kind][0]
    tools = _tools(members, notes)
    try:
        chat = ChatReader(member, tools, notes).read(members.get(member))
    except MalformedError as error:
        if is_pair(members.raw):
            raise MalformedError(f"{error}; the row {pair_problem(members.raw)}") from error
        raise
    return _with_own_system(
        Row(line, messages=chat.messages, unlearned=chat.unlearned, tools=tools), _system(members), notes
    )


def _tools(members: Members, notes: Notes) -> tuple[dict[str, Any], ...]:
    found = definitions(members.get("tools"), "tools", notes)
    legacy = definitions(members.get("functions"), "functions", notes)
    if found and legacy:
        raise MalformedError("has tools and functions; keep tools")
    return found or legacy


def _with_own_system(row: Row, system: str, notes: Notes) -> Row:
    """The chat with the system member put before it, where it does not begin with a system message."""
    first = (row.messages or ())[0]
    if not system:
        return row
    if first["role"] == "system":
        if first["content"] != system:
            notes.told.add(Told.SYSTEM_TWICE)
        return row
    return _after(system, row)


def _after(system: str, row: Row) -> Row:
    return dataclasses.replace(
        row,
        messages=({"role": "system", "content": system}, *(row.messages or ())),
        unlearned=tuple(index + 1 for index in row.unlearned),
    )


def _system(members: Members) -> str:
    """The row's own system prompt; empty without one."""
    found = {name: members.get(name) for name in SYSTEM if not absent(members.get(name))}
    for name, value in found.items():
        if not isinstance(value, str):
            raise MalformedError(f"{name} is {named(value)}, not text")
        characters(value, name)
    if len(set(found.values())) > 1:
        raise MalformedError(f"has {' and '.join(found)}, which differ; keep one")
    said = next(iter(found.values()), "")
    return said if said.strip() else ""


def _history(value: Any) -> Iterator[str]:
    """What was said before an instruction, as Alpaca's rows have it: a list of pairs of question and answer."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse(value)
        except (ValueError, RecursionError):
            raise MalformedError("history is text that is not JSON; write a list of [question, answer]") from None
    if value in _NONE or absent(value) or isinstance(value, str):
        return
    if not isinstance(value, list):
        raise MalformedError(f"history is {named(value)}, not a list of [question, answer]")
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise MalformedError(f"history: turn {number} is not [question, answer], both of them text")
        yield from (characters(said, "history") for said in turn if said.strip())


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _text(members: Members, member: str, *, empty: bool = False) -> str:
    value, name = members.get(member), members.named(member)
    if not isinstance(value, str):
        hint = "; a list of messages belongs under messages" if isinstance(value, list) else ""
        raise MalformedError(f"{name} is {named(value)}, not text{hint}")
    if not empty and not value.strip():
        raise MissingError(f"{name} is empty")
    return characters(value, name)
