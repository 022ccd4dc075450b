"""Files of 500 rows with faults in known places, and what must be said of each."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

ROWS = 500
BAD = (3, 250, 499)
"""Rows that are broken, counted from 1."""


def chat(number: int, **changes: object) -> dict[str, object]:
    answer = {"role": "assistant", "content": f"{number}", **changes}
    return {"messages": [{"role": "user", "content": f"{number} ="}, answer]}


def pair(number: int) -> dict[str, object]:
    return {"prompt": f"{number}, =", "completion": f"{number}"}


def lines(good: Callable[[int], dict[str, object]], bad: Callable[[int], str | bytes]) -> bytes:
    """JSON lines, those in BAD made by ``bad``."""
    made = [bad(n) if n in BAD else json.dumps(good(n)) for n in range(1, ROWS + 1)]
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in made)


def table(bad: Callable[[int], str | bytes]) -> bytes:
    """CSV of a header and rows of one line each."""
    made = [bad(n) if n in BAD else f'"{n}, =",{n}' for n in range(1, ROWS + 1)]
    return b"prompt,completion\n" + b"".join((m if isinstance(m, bytes) else m.encode()) + b"\n" for m in made)


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of fault; ``places`` as they must be named."""

    content: bytes
    reason: str
    name: str = "train.jsonl"
    places: str = "lines 3, 250, 499"
    failure: str = "MalformedRow"

    def check(self, reason: str, message: str) -> None:
        """Asserts that the failure names exactly the places of the faults."""
        assert reason == self.failure
        assert message.startswith(f"dataset {self.name} {self.places}: " if self.places else f"dataset {self.name} ")
        assert self.reason in message
        if self.places.count(",") == 2:
            assert message.endswith("(3 of 500 rows are malformed)")


ARRAY = json.dumps([pair(n) for n in range(1, ROWS + 1)], indent=0)

CASES = {
    "broken JSON": Case(
        lines(pair, lambda n: json.dumps(pair(n))[:-9]),
        "is not JSON (Unterminated string starting)",
        places="lines 3 (column 20), 250 (column 22), 499 (column 22)",
    ),
    "not an object": Case(lines(pair, lambda n: f'["{n}"]'), "is a list, not an object"),
    "missing member": Case(lines(pair, lambda n: f'{{"prompt": "{n}"}}'), "has no completion"),
    "null member": Case(lines(pair, lambda n: f'{{"prompt": "{n}", "completion": null}}'), "has no completion"),
    "wrong type": Case(lines(pair, lambda n: json.dumps(pair(n) | {"prompt": n})), "prompt is a number, not text"),
    "empty completion": Case(lines(pair, lambda n: json.dumps(pair(n) | {"completion": " "})), "completion is empty"),
    "unknown role": Case(lines(chat, lambda n: json.dumps(chat(n, role="bot"))), "message 2 has the role 'bot'"),
    "no assistant turn": Case(lines(chat, lambda n: json.dumps(chat(n, role="user"))), "no assistant message"),
    "bad weight": Case(lines(chat, lambda n: json.dumps(chat(n, weight=2))), "message 2 (assistant) has the weight 2"),
    "call that is none": Case(
        lines(
            lambda n: {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": f"{n}"}]},
            lambda n: json.dumps({"conversations": [{"from": "function_call", "value": f"{n}"}]}),
        ),
        "message 1 (function_call): tool call 1 is a number, not an object",
    ),
    "invalid UTF-8": Case(
        lines(pair, lambda _: b'{"prompt": "\xff", "completion": "x"}'),
        "is not UTF-8",
        places="lines 3 (byte 13), 250 (byte 13), 499 (byte 13)",
    ),
    "half a character": Case(
        lines(pair, lambda n: json.dumps(pair(n) | {"completion": "\ud83d"})), "completion holds \\ud83d"
    ),
    "mixed formats": Case(lines(pair, lambda n: json.dumps(chat(n))), "it is a messages row: all rows of a dataset"),
    "CSV fields": Case(
        table(lambda n: f"{n}, =,{n}"),
        "another number of fields than the header (3, not 2)",
        "a.csv",
        "lines 4, 251, 500",
    ),
    "CSV quotes": Case(table(lambda n: f'"{n}" =,{n}'), "is not CSV", "a.csv", "lines 4, 251, 500"),
    "CSV open quote": Case(
        table(lambda n: f'"{n} =,{n}' if n == BAD[-1] else f'"{n}",{n}'), "is not CSV", "a.csv", "line 500"
    ),
    "CSV invalid UTF-8": Case(table(lambda _: b"\xfc,1"), "is not UTF-8", "a.csv", "lines 4, 251, 500"),
    "CSV header": Case(b"prompt;completion\n" + b"1;2\n" * ROWS, "separate fields with commas", "a.csv", "line 1"),
    "JSON item": Case(
        re.sub(rb'"completion": "(3|250|499)"', b'"completion": ""', ARRAY.encode()),
        "completion is empty",
        "a.json",
        # Each item is written on four lines after the first.
        "items 3 (line 10), 250 (line 998), 499 (line 1994)",
    ),
    "JSON array cut off": Case(ARRAY.encode()[:9500], "is not JSON", "a.json", "item 216 (line 864 column 15)"),
    "JSON comma": Case(
        ARRAY.replace('"249"\n},', '"249"\n}').encode(),
        "Expecting ',' or ']'",
        "a.json",
        "item 249 (line 998 column 1)",
    ),
    "JSON invalid UTF-8": Case(
        ARRAY.encode().replace(b'"completion": "250"', b'"completion": "\xff"'), "is not UTF-8", "a.json", "line 1000"
    ),
    "gzip cut off": Case(b"\x1f\x8b\x08\x00", "damaged or cut off", "a.jsonl.gz", ""),
    "empty file": Case(b"", "has no rows", "a.parquet", "", "EmptyDataset"),
}
