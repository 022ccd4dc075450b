"""Points: what a test shows of a promise, for tests/run.py to print."""

from __future__ import annotations

from collections.abc import Callable

Record = Callable[[str, object], None]
"""pytest's fixture ``record_property``, called with ``"point"`` and what was tried, how often, and what came out."""
