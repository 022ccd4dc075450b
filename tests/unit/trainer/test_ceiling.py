"""Where an allocation fails in place of the kernel killing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_trainer.recovery.ceiling import RESERVE_BYTES, ceiling
from tests.support.training import SOURCES

MIB = 1 << 20
SIZES = st.integers(0, 1 << 40)
ALLOCATES = """
import resource
from kubetune_trainer.recovery.ceiling import lift, lower, status
lower(status("RssAnon") + 256 * 2**20)
held = []
try:
    for _ in range(100):
        held.append(bytearray(b"x" * 2**23))
except MemoryError:
    pass
touched = status("RssAnon")
count = len(held)
del held
lift()
bytearray(b"x" * 2**29)
print(count)
"""


@given(SIZES, SIZES, SIZES)
def test_what_is_left_is_what_has_not_been_touched(limit: int, asked: int, touched: int) -> None:
    found = ceiling(limit, asked, touched)
    assert found >= asked
    assert found - asked + touched <= max(limit, touched)
    assert ceiling(limit + MIB, asked, touched) >= found
    assert ceiling(touched, asked, touched) == asked
    assert ceiling(touched + RESERVE_BYTES, asked, touched) == asked


@pytest.mark.walk("W6")
def test_an_allocation_fails_before_the_limit_and_not_after_it_was_lifted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATES],
        env={"PYTHONPATH": ":".join(map(str, SOURCES))},
        check=True,
        capture_output=True,
        text=True,
    )
    # 256 MiB less the reserve, in pieces of 8 MiB that exist twice for a moment.
    assert 20 <= int(done.stdout) <= 28
