"""Which prompts a model was trained on, by 64 bits each: enough to find a row again, and not what it says. Pure.

A row counts as seen when its prompt was trained on, whatever its answer. Prompts are the same that differ in case,
white space and Unicode forms at most (NFKC, case folded, white space collapsed). A chat has a prompt for each turn that
is learned: everything before it. A chat with one question is the same as a row with that prompt.

Two of a billion different prompts share a key with probability 0.03; one of a thousand test items is taken by chance
for one of ten million trained prompts with 5e-10.
"""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .manifest import Manifest
from .rows import Row, spoken

NAME = "trained-rows.keys"
"""The file in a published folder: keys of eight bytes, most significant first, ascending."""
BYTES = 8
COMMON = 0.5
"""Share of a file's chats that begin with a system message from which on it says nothing about a row."""


class RowKeys:
    """A set of keys, eight bytes of memory each."""

    def __init__(self, keys: Iterable[int] = ()) -> None:
        self._keys = array("Q", sorted(set(keys)))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __contains__(self, key: int) -> bool:
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key

    def __or__(self, other: RowKeys) -> RowKeys:
        return RowKeys([*self, *other])

    @classmethod
    def read(cls, path: Path) -> RowKeys:
        """Those of a file; what is not whole at its end is left out."""
        data = path.read_bytes()
        made = cls()
        made._keys.frombytes(data[: len(data) // BYTES * BYTES])
        if sys.byteorder == "little":
            made._keys.byteswap()
        return made

    def write(self, path: Path) -> None:
        """As ``read`` reads them."""
        keys = array("Q", self._keys)
        if sys.byteorder == "little":
            keys.byteswap()
        path.write_bytes(keys.tobytes())


@dataclass(frozen=True)
class Known:
    """What a published folder says of the prompts it was trained on; ``keys`` is None where it has none."""

    keys: RowKeys | None
    is_result: bool
    """Whether a training has published it: without keys, its release kept none."""


def known(folder: Path, manifest: Manifest | None) -> Known:
    """Of a folder on this machine, with its manifest."""
    listed = manifest is not None and any(entry.path == NAME for entry in manifest.files)
    is_result = manifest is not None and manifest.dataset_sha256 is not None
    return Known(RowKeys.read(folder / NAME) if listed else None, is_result)


def trained(rows: Iterable[Row]) -> RowKeys:
    """The keys of everything that is learned from ``rows``.

    A system message that at least half of the chats begin with is one of the file, not of the row: those prompts count
    with and without it, so that another one, or none, hides nothing.
    """
    everything = list(rows)
    first = Counter(text for row in everything if (text := _system(row.messages or ())) is not None)
    chats = sum(row.messages is not None for row in everything)
    common = {text for text, count in first.items() if count >= COMMON * chats}
    return RowKeys(key for row in everything for key in _learned(row, common))


def asked(messages: Sequence[Mapping[str, Any]] | None, prompt: str | None, answer: str) -> frozenset[int]:
    """Keys of a question: it was seen when any of them was trained on. ``answer`` is for models that learned texts."""
    if messages is None:
        return frozenset({*_key(prompt or ""), *_key(f"{prompt or ''}{answer}")})
    bare = messages[1:] if _system(messages) is not None else ()
    return frozenset({*_key(_text(messages)), *_key(_text(bare))})


def _learned(row: Row, common: set[str]) -> Iterator[int]:
    if row.messages is None:
        yield from _key((row.prompt or "") if row.text is None else row.text)
        return
    is_common = _system(row.messages) in common
    for number, message in enumerate(row.messages):
        if message["role"] == "assistant" and number not in row.unlearned:
            yield from _key(_text(row.messages[:number]))
            if is_common:
                yield from _key(_text(row.messages[1:number]))


def _system(messages: Sequence[Mapping[str, Any]]) -> str | None:
    return _normalised(messages[0]["content"]) if messages and messages[0]["role"] == "system" else None


def _text(messages: Sequence[Mapping[str, Any]]) -> str:
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return "\n".join(map(spoken, messages))


def _key(text: str) -> tuple[int, ...]:
    """One key; none of a text without anything in it."""
    normalised = _normalised(text)
    if not normalised:
        return ()
    digest = hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:BYTES]),)


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
