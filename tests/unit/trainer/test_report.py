"""The remaining time that a running training tells."""

from __future__ import annotations

import random

import pytest

from kubetune_trainer.reporting.report import Reporter
from tests.support.points import Record

STEPS = 600
BAND = 0.2
CASES = ((0.0, 1000, 0.0), (0.5, 1000, 0.0), (0.3, 10, 10.0), (0.3, 25, 20.0), (0.7, 7, 3.0))
"""Spread of a step's time (sigma of its logarithm), steps between two pauses, and how many steps a pause is long."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def simulate(seed: int, *, noise: float, pause_every: int, pause_steps: float, start: int = 0) -> float:
    """Seconds left as told after a third of the run, over those that it then really took.

    A step takes a second times a log-normal number; every ``pause_every`` steps something else takes ``pause_steps``.
    """
    clock, chance = Clock(), random.Random(seed)
    reporter = Reporter(lambda _: None, clock)
    reporter.begin(start, STEPS)
    told, at = 0.0, 0.0
    for step in range(start + 1, STEPS + 1):
        clock.now += chance.lognormvariate(0, noise) + (30 if step == start + 1 else 0)
        reporter.stepped(step)
        if step == start + (STEPS - start) // 3:
            told, at = reporter.progress.eta_seconds or 0.0, clock.now
        if step % pause_every == 0 and step < STEPS:
            clock.now += pause_steps
            reporter.paused()
    return told / (clock.now - at)


def test_within_a_fifth_after_a_third_of_the_run(record_property: Record) -> None:
    """Also where rows differ in length, evaluations take longer than the steps, and the run is a resumed one."""
    ratios: list[float] = []
    for noise, pause_every, pause_steps in CASES:
        for start in (0, 120):
            found = [
                simulate(seed, noise=noise, pause_every=pause_every, pause_steps=pause_steps, start=start)
                for seed in range(50)
            ]
            assert sum(abs(ratio - 1) < BAND for ratio in found) >= 0.95 * len(found), (noise, pause_every, start)
            ratios += found
    within = sum(abs(ratio - 1) < BAND for ratio in ratios)
    record_property(
        "point",
        f"time left, told after a third of {STEPS} uneven steps with pauses: {within} of {len(ratios)} "
        f"simulated runs within 20 %, {min(ratios):.2f} to {max(ratios):.2f} of the truth",
    )


def test_a_time_is_told_from_the_first_step_on() -> None:
    clock = Clock()
    reporter = Reporter(lambda _: None, clock)
    reporter.begin(0, 10)
    assert reporter.progress.eta_seconds is None
    clock.now += 4
    reporter.stepped(1)
    assert reporter.progress.eta_seconds == 36
    clock.now += 2
    reporter.stepped(2)
    assert reporter.progress.eta_seconds == 16
    assert reporter.progress.step_seconds == pytest.approx(3.8)
