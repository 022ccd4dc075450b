"""Rows of a Parquet file, numbered from 1.

Dates and times are not turned into Python's, which know no nanoseconds and no year above 9999, nor, without pandas, any
at all of some columns: nothing is learned from them, so that it is enough to know that they are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

from .malformed import MalformedError

_BATCH = 1024


class Temporal:
    """A date, a time or a duration in a cell."""


_TEMPORAL = Temporal()


def parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Pairs of number and row; a row that is no UTF-8 comes as a MalformedError, a damaged page ends the file.

    Raises KubeTuneError (BAD_DATA, MalformedRow) when the file cannot be opened.
    """
    import pyarrow  # noqa: PLC0415 (takes a second, and other files need none of it)
    import pyarrow.parquet  # noqa: PLC0415

    failures = (pyarrow.ArrowException, OSError, ValueError)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow.names)
            for batch in _batches(file, failures):
                if isinstance(batch, MalformedError):
                    yield number + 1, batch
                    return
                for row in _values(batch):
                    number += 1
                    yield number, row
    except failures as error:
        raise _unreadable(
            path,
            f"is not a Parquet file that can be read ({_first(error)}); it is damaged or cut off: upload it again",
        ) from error


def _unreadable(path: Path, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, "MalformedRow", f"dataset {path.name} {problem}")


def _check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _unreadable(path, f"has the columns {', '.join(map(repr, twice))} more than once; keep one of each")


def _batches(file: Any, failures: tuple[type[Exception], ...]) -> Iterator[Any]:
    for group in range(file.num_row_groups):
        try:
            yield from file.iter_batches(batch_size=_BATCH, row_groups=[group])
        except failures as error:
            yield MalformedError(
                f"is in a damaged part of the file ({_first(error)}); the file cannot be read beyond this: upload it "
                "again"
            )
            return


def _values(batch: Any) -> Iterator[Any]:
    try:
        yield from _rows(batch)
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield from _rows(batch.slice(index, 1))
            except UnicodeDecodeError:
                yield MalformedError("holds text that is not UTF-8; write the file again")


def _rows(batch: Any) -> list[Any]:
    columns = {
        name: [_present(value) for value in _cells(column)]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return [{name: cells[index] for name, cells in columns.items()} for index in range(batch.num_rows)]


def _cells(column: Any) -> list[Any]:
    """A column's values; what is not valid is None."""
    import pyarrow.types as kinds  # noqa: PLC0415

    if kinds.is_temporal(column.type):
        return [_TEMPORAL if there else None for there in column.is_valid().to_pylist()]
    if kinds.is_dictionary(column.type):
        return _cells(column.dictionary_decode())
    if kinds.is_struct(column.type):
        names = [column.type.field(index).name for index in range(column.type.num_fields)]
        members = [_cells(member) for member in column.flatten()]
        return [
            {name: member[index] for name, member in zip(names, members, strict=True)} if there else None
            for index, there in enumerate(column.is_valid().to_pylist())
        ]
    if kinds.is_list(column.type) or kinds.is_large_list(column.type) or kinds.is_fixed_size_list(column.type):
        return _lists(column)
    values: list[Any] = column.to_pylist()
    return values


def _lists(column: Any) -> list[Any]:
    from pyarrow import compute  # noqa: PLC0415

    cells = iter(_cells(column.flatten()))
    lengths = compute.list_value_length(column).to_pylist()
    return [None if length is None else [next(cells) for _ in range(length)] for length in lengths]


def _present(value: Any) -> Any:
    """Without the nulls that stand in a column's objects for the members that only other rows' objects have."""
    if isinstance(value, dict):
        return {name: _present(member) for name, member in value.items() if member is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]
