"""A shared budget of so many a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubetune.runtime.pace import Pace

RATE = 10.0
STEPS = st.lists(st.floats(0, 3, allow_nan=False), max_size=200)


@given(STEPS)
def test_no_window_has_more_than_its_share(steps: list[float]) -> None:
    pace, now, gone = Pace(RATE), 100.0, []
    for step in steps:
        now += step
        if pace.take(now):
            gone.append(now)
    for first in range(len(gone)):
        for last in range(first, len(gone)):
            span = gone[last] - gone[first]
            assert last - first + 1 <= RATE * span + 1 + 1e-6, "nothing is saved up"


@given(STEPS)
def test_one_that_is_refused_may_go_when_it_was_told(steps: list[float]) -> None:
    pace, now = Pace(RATE), 100.0
    for step in steps:
        now += step
        if not pace.take(now):
            assert now < pace.free_at <= now + 1 / RATE
            now = pace.free_at
            assert pace.take(now)
