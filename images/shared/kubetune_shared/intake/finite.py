"""Weights that are no numbers: a look at every one, which costs about as long as reading the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CHUNK = 4 << 20
"""Bytes looked at a time: they stay in the processor's cache."""
_EXPONENTS: dict[str, tuple[str, int]] = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000)}
"""Type of a tensor -> unsigned type of the same width, and its infinity: larger without the sign is NaN."""


def not_finite(path: Path) -> tuple[str, str] | None:
    """Name of the first tensor of a safetensors file that holds NaN, or of a weight with an infinity, and which of the
    two; None when all is well. The file is one that ``check_safetensors`` has passed.

    An infinity elsewhere may be a mask that is meant so.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            start, end = entry["data_offsets"]
            largest = _largest(file, 8 + length + start, end - start, entry["dtype"])
            if largest is None:
                continue
            found, infinity = largest
            if found > infinity:
                return name, "NaN"
            if found == infinity and name.endswith("weight"):
                return name, "infinity"
    return None


def _largest(file: Any, start: int, size: int, dtype: str) -> tuple[int, int] | None:
    """The largest magnitude of a tensor as bits, and infinity's; None for types that are not looked at."""
    if dtype not in _EXPONENTS or not size:
        return None
    import numpy as np  # noqa: PLC0415 (comes with torch)

    kind, infinity = _EXPONENTS[dtype]
    mask = np.array((1 << (8 * np.dtype(kind).itemsize - 1)) - 1, dtype=kind)
    file.seek(start)
    highest, left = 0, size
    while left:
        data = np.frombuffer(file.read(min(CHUNK, left)), dtype=kind)
        left -= data.nbytes
        highest = max(highest, int(np.bitwise_and(data, mask).max()))
        if highest > infinity:
            break
    return highest, infinity
