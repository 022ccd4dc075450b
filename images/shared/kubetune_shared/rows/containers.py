"""Rows as they are written in files: JSON lines, a JSON array, CSV, Parquet; the first two and CSV also gzipped.

A row that cannot be parsed comes as the MalformedError that says why, so that the rows after it are looked at too.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from kubetune_contract import ExitCode, KubeTuneError

from .jsontext import DECODER, LENIENT, parse
from .malformed import MalformedError
from .parquet import parquet_rows

_BOM = "\ufeff"
_SURROGATES = ("\udc80", "\udcff")
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"


@dataclass(frozen=True)
class Parsed:
    """A row and where it is; ``place`` says it in words where the number alone does not."""

    number: int
    value: Any
    place: str = ""

    def __str__(self) -> str:
        return f"{self.number}{self.place}"


@dataclass(frozen=True)
class Container:
    """How a file holds its rows; ``unit`` is what they are counted in."""

    kind: str
    unit: str


_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_UNITS = {"jsonl": "line", "csv": "line", "tsv": "line", "json": "item", "spread": "item", "parquet": "row"}


def container(path: Path) -> Container:
    """Decided by the name and, where that says nothing, by how the file begins.

    Raises KubeTuneError (BAD_DATA): UnknownFormat, or MalformedRow when the file is damaged.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    with _whole(path), _opened(path) as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        kind = "parquet"
    elif not head:
        # Nothing in it is nothing wrong with it: it has no rows, in any form.
        kind = "jsonl"
    text = head.removeprefix(_BOM.encode()).lstrip()
    if kind in (None, "json", "jsonl"):
        # Many tools write JSON lines into a file called .json, and an array into one called .jsonl.
        kind = "json" if text.startswith(b"[") else "jsonl" if kind or text.startswith(b"{") or not text else None
    if kind == "jsonl" and text.startswith(b"{"):
        with _whole(path):
            kind = "spread" if _is_spread(path) else kind
    if kind is None:
        raise _bad(
            "UnknownFormat",
            f"dataset {path.name} is neither JSON lines, a JSON array, Parquet nor a .csv file (by its name)",
        )
    return Container(kind, _UNITS[kind])


def parsed_rows(path: Path, kind: str) -> Iterator[Parsed]:
    """The file's rows. Raises KubeTuneError (BAD_DATA, MalformedRow) when the file as a whole cannot be read."""
    with _whole(path):
        if kind == "parquet":
            yield from (Parsed(number, value) for number, value in parquet_rows(path))
        elif kind == "json":
            yield from _json_array(path)
        elif kind == "spread":
            yield from _spread(path)
        elif kind == "jsonl":
            yield from _json_lines(path)
        else:
            yield from _table(path, "\t" if kind == "tsv" else ",")


def _bad(reason: str, message: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, reason, message)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _bad("MalformedRow", f"dataset {path.name} is damaged or cut off ({error}); upload it again") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            yield file


def _json_lines(path: Path) -> Iterator[Parsed]:
    with _opened(path) as file:
        for line, raw in enumerate(file, 1):
            try:
                # A byte order mark in the middle is where two files were joined.
                text = raw.decode("utf-8-sig").strip()
                if text:
                    yield Parsed(line, parse(text))
            except UnicodeDecodeError as error:
                yield Parsed(line, MalformedError(_NOT_UTF8), f" (byte {error.start + 1})")
            except MalformedError as error:
                yield Parsed(line, error)
            except (json.JSONDecodeError, RecursionError) as error:
                problem = MalformedError(f"is not JSON ({_problem(error)}); write one JSON object per line")
                yield Parsed(
                    line, problem, f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
                )


def _problem(error: Exception) -> str:
    return error.msg.removesuffix(" at") if isinstance(error, json.JSONDecodeError) else "nested too deeply"


def _whole_text(path: Path) -> str:
    with _opened(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _bad(
            "MalformedRow", f"dataset {path.name} line {line}: byte {error.start + 1} of the file {_NOT_UTF8}"
        ) from error


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The value at ``at`` and where it ends; an object of which a member is there twice comes as a MalformedError."""
    try:
        return DECODER.raw_decode(text, at)
    except MalformedError as error:
        return error, LENIENT.raw_decode(text, at)[1]


def _json_array(path: Path) -> Iterator[Parsed]:
    """Items with the line they begin on; what comes after a syntax error cannot be told apart and is not looked at."""
    text = _whole_text(path)
    at, line, number = _skip(text, text.index("[") + 1), 1, 0
    counted = 0
    while text[at : at + 1] != "]":
        number += 1
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = _decoded(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield _broken(number, line, error)
            return
        yield Parsed(number, value, f" (line {line})")
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            yield _broken(number, line, json.JSONDecodeError("Expecting ',' or ']' after the item", text, at))
            return
    rest = _skip(text, at + 1)
    if rest < len(text):
        said = "Another list follows: were two files joined?" if text[rest] == "[" else "Extra data after the list"
        yield _broken(number, line, json.JSONDecodeError(said, text, rest))


def _is_spread(path: Path) -> bool:
    """Whether objects are written over several lines each, as JSON that is printed prettily."""
    with _opened(path) as file:
        first = next((line for line in file if line.removeprefix(_BOM.encode()).strip()), b"")
    try:
        json.loads(first.decode("utf-8-sig"))
        return False
    except (ValueError, RecursionError):
        pass
    try:
        text = _whole_text(path)
        _, end = LENIENT.raw_decode(text, _skip(text, 0))
    except (ValueError, RecursionError, KubeTuneError):
        return False
    return "\n" in text[:end].strip()


def _spread(path: Path) -> Iterator[Parsed]:
    """Objects one after the other."""
    text = _whole_text(path)
    at, line, number, counted = _skip(text, 0), 1, 0, 0
    while at < len(text):
        number += 1
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = _decoded(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield _broken(number, line, error)
            return
        at = _skip(text, at)
        yield Parsed(number, value, f" (line {line})")


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n", _BOM):
        at += 1
    return at


def _broken(number: int, line: int, error: Exception) -> Parsed:
    place = f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else f"line {line}"
    problem = MalformedError(f"is not JSON ({_problem(error)}); the file cannot be read beyond this")
    return Parsed(number, problem, f" ({place})")


def _table(path: Path, separator: str) -> Iterator[Parsed]:
    csv.field_size_limit(2**31 - 1)
    with _opened(path) as file:
        # Bytes that are no UTF-8 become surrogates, which are found row by row.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, strict=True, delimiter=separator)
        before = 0
        header: list[str] | None = None
        while True:
            start = before + reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Parsed(
                    start,
                    MalformedError(f"is not CSV ({error}); put fields with quotes, commas or line breaks in quotes"),
                )
                if header is None:
                    return
                continue
            if not fields:
                continue
            if header is None:
                header = fields
                problem = _header_problem(header)
                if problem:
                    yield Parsed(start, MalformedError(problem))
                    return
                if _is_spaced(header):
                    before = reader.line_num
                    reader = csv.reader(text, strict=True, delimiter=separator, skipinitialspace=True)
                continue
            yield Parsed(start, _record(header, fields))


def _is_spaced(header: list[str]) -> bool:
    """Whether a space follows every separator, so that it belongs to none of the fields."""
    return len(header) > 1 and all(name.startswith(" ") and name.strip() for name in header[1:])


def _header_problem(header: list[str]) -> str | None:
    if _undecodable(header):
        return f"the header {_NOT_UTF8}"
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return f"the header names {', '.join(map(repr, twice))} more than once"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        return f"the header {header[0]!r} is one field; separate fields with commas"
    return None


def _record(header: list[str], fields: list[str]) -> dict[str, str] | MalformedError:
    if len(fields) != len(header):
        return MalformedError(
            f"has another number of fields than the header ({len(fields)}, not {len(header)}); quote fields with commas"
        )
    if _undecodable(fields):
        return MalformedError(_NOT_UTF8)
    if [field.strip(f" {_BOM}") for field in fields] == [name.strip() for name in header]:
        return MalformedError("is the header once more; were two files joined? Take the line out")
    return dict(zip(header, fields, strict=True))


def _undecodable(fields: list[str]) -> bool:
    low, high = _SURROGATES
    return any(low <= letter <= high for field in fields if not field.isascii() for letter in field)
