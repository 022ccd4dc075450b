"""Files of rows as people have them, kind by kind, and what must become of each.

Those that are read from tests/support/data/rows were found in public bug reports; the others are of the same kinds.
"""

from __future__ import annotations

from . import columns, files, meaning
from .case import DATA, RowCase

CASES: tuple[RowCase, ...] = (*meaning.CASES, *files.CASES, *columns.CASES)

__all__ = ["CASES", "DATA", "RowCase"]
