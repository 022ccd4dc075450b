"""Rows of a dataset in one form, whatever they were written in.

Every row is checked; every fault is reported with file, line and what to do, and all of a file's at once, so that a
user does not mend it one line per attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kubetune_contract import Dataset, ExitCode, KubeTuneError, RowFormat

from .containers import container, parsed_rows
from .formats import MEMBERS, detect, members_of, to_row, with_system
from .malformed import MalformedError
from .problems import MAX_ERRORS, Problems
from .row import Row, digest, load_rows, split, spoken, write_rows

__all__ = [
    "MAX_ERRORS",
    "MEMBERS",
    "Row",
    "digest",
    "load_rows",
    "read_rows",
    "split",
    "spoken",
    "write_rows",
]


def read_rows(path: Path, dataset: Dataset) -> Iterator[Row]:
    """The file's rows in order, brought to one form.

    Raises KubeTuneError (BAD_DATA): MalformedRow with the faults once the file is read, EmptyDataset, or
    UnknownFormat.
    """
    found = container(path)
    problems = Problems(path.name, found.unit)
    known: RowFormat | None = None if dataset.format is RowFormat.AUTO else dataset.format
    count = 0
    for parsed in parsed_rows(path, found.kind):
        count += 1
        try:
            if isinstance(parsed.value, MalformedError):
                raise parsed.value
            members = members_of(parsed.value, dataset.columns)
            known = known or detect(members)
            row = to_row(parsed.number, members, known)
            row = with_system(row, dataset.system_prompt) if dataset.system_prompt else row
        except MalformedError as error:
            problems.add(str(parsed), str(error))
            continue
        if not problems.count:
            yield row
    if problems.count:
        raise KubeTuneError(ExitCode.BAD_DATA, "MalformedRow", problems.message(count))
    if not count:
        raise KubeTuneError(
            ExitCode.BAD_DATA, "EmptyDataset", f"dataset {path.name} has no rows; give it at least one example"
        )
