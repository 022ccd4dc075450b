"""Suggestions from logged numbers: told when they are certain, and never for a healthy run."""

from __future__ import annotations

import random

import pytest

from kubetune_contract import Suggestion, TrainProgress
from kubetune_trainer.reporting.report import Reporter
from kubetune_trainer.reporting.signs import Signs, flat_loss, loss_rose, memory_near_limit, overfitting, slow_input


def curve(start: float, end: float, count: int, noise: float = 0.0, seed: int = 1) -> list[tuple[int, float]]:
    rng = random.Random(seed)
    return [(10 * n, start + (end - start) * n / (count - 1) + rng.gauss(0, noise)) for n in range(count)]


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        (curve(2.0, 2.0, 40, 0.02), True),
        (curve(2.0, 2.1, 40, 0.02), True),
        (curve(2.0, 1.99, 100, 0.02), True),
        (curve(2.0, 1.5, 40, 0.02), False),
        (curve(2.0, 1.9, 40, 0.02), False),
        (curve(2.0, 2.0, 15, 0.0), False),
        (curve(0.02, 0.02, 40, 0.0), False),
        (curve(2.0, 2.0, 16, 0.8), False),
    ],
    ids=["flat", "rising", "hardly", "falling", "slowly", "too few", "learned", "too noisy to tell"],
)
def test_flat_loss(losses: list[tuple[int, float]], flat: bool) -> None:
    found = flat_loss(losses)
    assert (found is not None) is flat
    if found:
        assert found.reason == "FlatLoss"
        assert "raise learningRate" in found.message


@pytest.mark.walk("S3")
@pytest.mark.parametrize(
    ("losses", "rose"),
    [
        ([6.45, 7.0, 8.9, 9.7, 10.28, 10.3], True),
        ([6.45, 7.0, 8.9, 9.7, 10.28], False),
        ([2.0] * 10 + [2.1] * 10, False),
        ([1.4, 2.1, 2.0, 1.9, 1.8, 1.9], False),
        ([2.0, 1.5] * 3, False),
        ([], False),
        ([0.0] * 3 + [0.5] * 3, False),
        ([0.01] * 3 + [0.02] * 3, False),
    ],
    ids=["rate 1.0", "too few", "a little", "an easy first batch", "fell", "none", "zero", "learned"],
)
def test_a_loss_that_rose(losses: list[float], rose: bool) -> None:
    found = loss_rose(losses, 1.0)
    assert (found is not None) is rose
    if found:
        assert found.reason == "LossRose"
        assert "Lower learningRate (now 1)" in found.message
    assert flat_loss([(number, value) for number, value in enumerate([*losses] * 8)]) is None or not rose


@pytest.mark.walk("S3")
def test_a_loss_that_has_risen_far_is_not_told_to_learn_faster() -> None:
    assert flat_loss(curve(2.0, 9.0, 40, 0.02)) is None


@pytest.mark.parametrize("seed", range(50))
def test_a_noisy_run_that_learns_is_never_called_flat(seed: int) -> None:
    assert flat_loss(curve(2.0, 1.6, 60, 0.3, seed)) is None


def test_overfitting() -> None:
    losses = curve(2.0, 0.5, 50)
    told = overfitting(losses, [(100, 1.5), (200, 1.2), (300, 1.25), (400, 1.4)])
    assert told is not None
    assert told.message.startswith("the validation loss rose from 1.2 at step 200 to 1.4 at step 400")
    assert overfitting(losses, [(100, 1.5), (200, 1.2), (300, 1.4)]) is None, "one bad evaluation may be chance"
    assert overfitting(losses, [(100, 1.5), (200, 1.2), (300, 1.21), (400, 1.21)]) is None, "within 2 %"
    assert overfitting(losses, [(100, 1.5), (200, 1.4), (300, 1.3), (400, 1.2)]) is None
    assert overfitting(curve(2.0, 2.5, 50), [(100, 1.5), (200, 1.2), (300, 1.3), (400, 1.5)]) is None, "both rise"


def test_slow_input() -> None:
    assert slow_input([1.0] * 20, [2.0] * 20) is not None
    assert slow_input([1.0] * 19, [2.0] * 19) is None
    assert slow_input([0.01] * 100, [0.02] * 100) is None, "not worth a word"
    assert slow_input([1.0] * 20, [10.0] * 20) is None


def test_memory_near_limit() -> None:
    gib = 1 << 30
    told = memory_near_limit(int(11.5 * gib), 12 * gib)
    assert told is not None
    assert "11.5 GiB, is 96%" in told.message
    assert memory_near_limit(11 * gib, 12 * gib) is None
    assert memory_near_limit(None, 12 * gib) is None
    assert memory_near_limit(gib, None) is None


def test_signs_wait_for_a_third_of_the_run() -> None:
    signs = Signs()
    early = [signs.logged(step, 1000, {"loss": 2.0}) for step in range(0, 330, 10)]
    assert not any(early)
    told = signs.logged(340, 1000, {"loss": 2.0, "grad_norm": float("nan")})
    assert told is not None
    assert told.reason == "FlatLoss"
    assert signs.logged(350, 1000, {"loss": float("nan")}) is not None


def test_each_reason_is_told_once() -> None:
    seen: list[TrainProgress] = []
    reporter = Reporter(seen.append, lambda: 1.0)
    for message in ("first", "again"):
        reporter.suggest(Suggestion("FlatLoss", message))
    reporter.suggest(None)
    reporter.suggest(Suggestion("SlowInput", "slow"))
    assert [(one.reason, one.message) for one in seen[-1].suggestions] == [("FlatLoss", "first"), ("SlowInput", "slow")]
    reporter.gpu(1 << 30, 0.5)
    assert (seen[-1].reserved_vram_bytes, seen[-1].gpu_utilization) == (1 << 30, 0.5)
