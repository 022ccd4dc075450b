"""Rows of a dataset in one form, whatever they were written in.

Every row is checked; every fault is reported with file, line and what to do, and all of a file's at once, so that a
user does not mend it one line per attempt. What is not used of the rows is counted, and which columns are learned from
is said.
"""

from __future__ import annotations

from .columns import ENOUGH, SAMPLE
from .formats import MEMBERS
from .names import as_columns
from .notes import Counted, Told
from .problems import MAX_ERRORS
from .reading import Rows, read, read_rows
from .row import Row, digest, load_rows, split, spoken, write_rows

__all__ = [
    "ENOUGH",
    "MAX_ERRORS",
    "MEMBERS",
    "SAMPLE",
    "Counted",
    "Row",
    "Rows",
    "Told",
    "as_columns",
    "digest",
    "load_rows",
    "read",
    "read_rows",
    "split",
    "spoken",
    "write_rows",
]
