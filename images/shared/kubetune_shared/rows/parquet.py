"""Rows of a Parquet file, numbered from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

from .malformed import MalformedError

_BATCH = 1024


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
            for batch in _batches(file, failures):
                if isinstance(batch, MalformedError):
                    yield number + 1, batch
                    return
                for row in _values(batch):
                    number += 1
                    yield number, row
    except failures as error:
        raise KubeTuneError(
            ExitCode.BAD_DATA,
            "MalformedRow",
            f"dataset {path.name} is not a Parquet file that can be read ({_first(error)}); it is damaged or cut off: "
            "upload it again",
        ) from error


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
    return [{name: _present(value) for name, value in row.items()} for row in batch.to_pylist()]


def _present(value: Any) -> Any:
    """Without the nulls that stand in a column's objects for the members that only other rows' objects have."""
    if isinstance(value, dict):
        return {name: _present(member) for name, member in value.items() if member is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]
