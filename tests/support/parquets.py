"""Tables with a column that nobody uses, of each kind that has stopped readers. Needs pyarrow."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import pyarrow as pa

FAR = 2**62
COLUMNS: dict[str, Callable[[], Any]] = {
    "nanoseconds": lambda: pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
    "a year above 9999": lambda: pa.array([FAR // 10**3, None], pa.timestamp("us")),
    "a year before 1": lambda: pa.array([-FAR // 10**3, None], pa.timestamp("us")),
    "a date above 9999": lambda: pa.array([2**31 - 1, None], pa.int32()).cast(pa.date32()),
    "nanoseconds of a day": lambda: pa.array([86_399_999_999_999, None], pa.time64("ns")),
    "a duration in nanoseconds": lambda: pa.array([123_456_789, None], pa.duration("ns")),
    "an unknown time zone": lambda: pa.array([1, None], pa.timestamp("us", tz="Nowhere/Land")),
    "nanoseconds in a struct": lambda: pa.array([{"at": 123_456_789}, None], pa.struct([("at", pa.timestamp("ns"))])),
    "nanoseconds in a list": lambda: pa.array([[1, None], None], pa.list_(pa.timestamp("ns"))),
    "a long decimal": lambda: pa.array([decimal.Decimal("1" * 60), None], pa.decimal256(76)),
    "bytes": lambda: pa.array([b"\xff", None], pa.binary()),
    "a map": lambda: pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
}
"""What is odd about the column -> its two values, of which the second is null."""


def odd_table(column: str) -> Any:
    """Two rows of prompt and completion, with the column beside them."""
    return pa.table({"prompt": ["1, =", "2, ="], "completion": ["1", "2"], column: COLUMNS[column]()})
