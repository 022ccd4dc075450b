"""A file's rows, with an account of how they were read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubetune_contract import GROUP, Dataset, ExitCode, KubeTuneError, Missing, RowFormat

from .columns import ENOUGH, SAMPLE, Reading, has_class_numbers, is_labelled, recognise
from .containers import Parsed, container, parsed_rows
from .formats import SHAPES, detect, members_of, to_row
from .malformed import MalformedError, MissingError, absent, listed
from .names import as_columns
from .notes import Counted, Notes
from .preference import is_pair, pair_problem
from .problems import Problems
from .row import Row


@dataclass
class Rows:
    """The rows of one file in order, and how they were read."""

    rows: list[Row] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    """Our name of a member -> the file's, where the columns were recognised; empty where they are called by our names,
    or named in the dataset."""
    confidence: float | None = None
    """Of ``columns``, in [ENOUGH, 1]."""
    counted: Counted = field(default_factory=Counted)
    missing: int = 0
    """Rows left out because a cell is missing."""
    total: int = 0
    """Rows of the file."""


def read_rows(path: Path, dataset: Dataset) -> Iterator[Row]:
    """The rows of ``read``, without the account."""
    yield from read(path, dataset).rows


def read(path: Path, dataset: Dataset) -> Rows:
    """The file's rows in order, brought to one form.

    Raises KubeTuneError (BAD_DATA): MalformedRow with the faults once the file is read, UnknownColumns when it cannot
    be told what to learn from, PreferenceData, EmptyDataset, or UnknownFormat.
    """
    found = container(path)
    parsed = parsed_rows(path, found.kind)
    sample = list(itertools.islice(parsed, SAMPLE))
    done = Rows()
    problems = Problems(path.name, found.unit)
    reading = _reading(sample, dataset, path.name, found.unit)
    if reading and reading.columns:
        done.columns, done.confidence = reading.columns, reading.confidence
    for one in itertools.chain(sample, parsed):
        done.total += 1
        notes = Notes()
        try:
            row = _row(one, dataset, reading, notes)
        except MissingError as error:
            if dataset.missing is Missing.DROP:
                done.missing += 1
            else:
                problems.add(str(one), str(error), missing=True)
        except MalformedError as error:
            problems.add(str(one), str(error))
        else:
            done.counted.add(notes)
            if not problems.count:
                done.rows.append(row)
    if problems.count:
        raise KubeTuneError(ExitCode.BAD_DATA, "MalformedRow", problems.message(done.total))
    if not done.rows:
        why = f" in which no cell is missing ({done.missing} are left out)" if done.missing else ""
        said = f"dataset {path.name} has no rows{why}; give it at least one example"
        raise KubeTuneError(ExitCode.BAD_DATA, "EmptyDataset", said)
    return done


def _row(one: Parsed, dataset: Dataset, reading: Reading | None, notes: Notes) -> Row:
    if isinstance(one.value, MalformedError):
        raise one.value
    members = members_of(one.value, _present_columns(one.value, reading) | dataset.columns)
    if reading is None:
        raise MalformedError(
            f"has {listed(one.value) if one.value else 'no members'}; expected messages, prompt and completion, "
            "instruction and output, conversations, or text (name other columns in dataset.columns)"
        )
    return to_row(one.number, members, reading.kind, dataset.system_prompt, notes)


def _present_columns(value: Any, reading: Reading | None) -> dict[str, str]:
    """Recognised columns that this row has: one that it lacks is a missing cell."""
    if reading is None or not isinstance(value, Mapping):
        return {}
    return {member: column for member, column in reading.columns.items() if column in value}


def _reading(sample: list[Parsed], dataset: Dataset, name: str, unit: str) -> Reading | None:
    """How the file's rows are read; None where only errors can be told of them.

    Raises KubeTuneError (BAD_DATA): UnknownColumns, PreferenceData.
    """
    rows = [one.value for one in sample if isinstance(one.value, Mapping) and one.value]
    wanted = None if dataset.format is RowFormat.AUTO else dataset.format
    own = _own_shape(rows, dataset, wanted)
    if own or _explicit(dataset):
        return own or (Reading(wanted) if wanted else None)
    found = recognise(rows, wanted) if rows else []
    if found and found[0].confidence >= ENOUGH:
        return found[0]
    for one in sample:
        if isinstance(one.value, Mapping) and is_pair(one.value):
            problem = f"dataset {name} {unit} {one}: {pair_problem(one.value)}"
            raise KubeTuneError(ExitCode.BAD_DATA, "PreferenceData", problem)
    empty = next((kind for kind, needed in SHAPES.items() if _is_empty(rows, needed)), None)
    if rows and (found or not (wanted or empty)):
        raise KubeTuneError(ExitCode.BAD_DATA, "UnknownColumns", _unclear(rows, found, name))
    # A column of nothing but nulls is no other column's business.
    kind = wanted or empty
    return Reading(kind) if kind else None


def _explicit(dataset: Dataset) -> bool:
    """Whether the dataset says what its columns are; what groups its rows says nothing of that."""
    return bool(set(dataset.columns) - {GROUP})


def _is_empty(rows: list[Any], needed: tuple[str, ...]) -> bool:
    """Whether rows have these members, and none of them all of their cells."""
    there = [row for row in rows if set(needed) <= set(row)]
    return bool(there) and all(any(absent(row[name]) for name in needed) for row in there)


def _own_shape(rows: list[Any], dataset: Dataset, wanted: RowFormat | None) -> Reading | None:
    """The shape that the first row has whose members are called by our names, or by those of ``dataset.columns``."""
    for row in rows:
        try:
            members = members_of(row, dataset.columns)
        except MalformedError:
            continue
        kind = detect(members) if wanted is None else wanted if members.has(wanted) else None
        if kind is RowFormat.TEXT and wanted is None and not _explicit(dataset) and is_labelled(row):
            continue
        if kind:
            return Reading(kind)
    return None


def _unclear(rows: list[Any], found: list[Reading], name: str) -> str:
    has = f"dataset {name} has the columns {listed(dict.fromkeys(column for row in rows for column in row))}"
    within = _list_within(rows[0]) if len(rows) == 1 else None
    if not found:
        if within:
            return f"dataset {name} is one object around a list, {within!r}; make a file of that list alone"
        if has_class_numbers(rows):
            return (
                f"{has}: the labels are numbers, of which a language model learns nothing; write the classes' names in "
                "their place, or learn the text alone with format: text in spec.dataset"
            )
        return (
            f"{has}: none of them is known as one to learn from; call them messages, prompt and completion, "
            "instruction and output, conversations, or text, or name them in spec.dataset, for example columns: "
            "{prompt: COLUMN OF QUESTIONS, completion: COLUMN OF ANSWERS}"
        )
    best = found[0]
    others = f"; {as_columns(found[1].columns)} fits as well" if len(found) > 1 else ""
    return (
        f"{has}: the best guess at what to learn from them, {as_columns(best.columns)}, has a confidence of "
        f"{best.confidence:.2f}, less than {ENOUGH}{others}. If it is right, write it into spec.dataset; if not, name "
        "the right columns there"
    )


def _list_within(row: Mapping[str, Any]) -> str | None:
    """The member that holds the rows, where a file is one object around them."""
    lists = [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
    ]
    return lists[0] if len(lists) == 1 else None
