"""The divergence guard: silent on what training looks like, alarmed by what it must not look like."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import ExitCode, Recovery
from kubetune_trainer.loop.guard import WARM_UP, DivergenceGuard, RunningLoss, remedy

NAN, INF = float("nan"), float("inf")


def stopped_at(losses: Iterable[float], settings: Recovery | None = None, gradient: float = 1.0) -> int | None:
    guard = DivergenceGuard("float32", settings or Recovery())
    for step, loss in enumerate(losses):
        if guard.watch(step, {"loss": loss, "grad_norm": gradient}):
            return step
    return None


def noisy(seed: int, count: int, level: float, noise: float) -> list[float]:
    chance = random.Random(seed)
    return [max(0.0, chance.gauss(level, noise)) for _ in range(count)]


@pytest.mark.parametrize(
    ("precision", "patience", "logs", "stop"),
    [
        ("float32", 1, [{"loss": 1.0, "grad_norm": 1.0}, {"loss": NAN, "grad_norm": 1.0}], 1),
        ("float32", 3, [{"loss": 1.0, "grad_norm": 1.0}] + [{"loss": NAN, "grad_norm": 1.0}] * 3, 3),
        ("float32", 3, [{"loss": NAN}, {"loss": NAN}, {"loss": 1.0}] * 5, None),
        ("bfloat16", 1, [{"loss": 1.0, "grad_norm": INF}], 0),
        ("bfloat16", 2, [{"loss": 1.0, "grad_norm": INF}] * 2, 1),
        ("float16", 1, [{"loss": 1.0, "grad_norm": NAN}, {"loss": 1.0, "grad_norm": 1.0}] * 4, None),
        ("float16", 1, [{"loss": 1.0, "grad_norm": NAN}] * 4, 2),
        ("float16", 1, [{"loss": INF, "grad_norm": 1.0}], 0),
        ("float32", 1, [{"eval_loss": 1.0}, {"train_loss": NAN}, {"loss": 9e9, "grad_norm": 9e9}], None),
    ],
)
def test_numbers_that_are_lost(precision: str, patience: int, logs: list[dict[str, Any]], stop: int | None) -> None:
    guard = DivergenceGuard(precision, Recovery(patience=patience))
    stops = [step for step, values in enumerate(logs) if guard.watch(step, values)]
    assert (stops[0] if stops else None) == stop
    if stop is None:
        assert guard.problem is None
        return
    failure = guard.failure("", remedy(1e-3))
    assert failure.code is ExitCode.DIVERGED
    assert f"at step {stop}" in failure.message
    assert "Lower learningRate (now 0.001)" in failure.message


@given(st.integers(0, 10**6), st.floats(0.05, 12), st.floats(0.0, 0.3))
@settings(max_examples=200, deadline=None)
def test_a_level_with_noise_is_left_alone(seed: int, level: float, noise: float) -> None:
    assert stopped_at(noisy(seed, 500, level, noise * level)) is None


@given(st.integers(0, 10**6), st.floats(0.5, 12), st.floats(0.0, 0.4), st.floats(2, 400), st.floats(0.0, 0.2))
@settings(max_examples=200, deadline=None)
def test_a_falling_loss_is_left_alone(seed: int, start: float, rest: float, steps: float, noise: float) -> None:
    chance = random.Random(seed)
    curve = [start * (rest + (1 - rest) * math.exp(-step / steps)) for step in range(500)]
    assert stopped_at(max(0.0, chance.gauss(loss, noise * loss)) for loss in curve) is None


@given(st.integers(0, 10**6), st.floats(0.0, 0.15), st.integers(4, 60))
@settings(max_examples=100, deadline=None)
def test_a_loss_that_swings_with_the_data_is_left_alone(seed: int, noise: float, period: int) -> None:
    chance = random.Random(seed)
    curve = [2.0 + 0.4 * math.sin(2 * math.pi * step / period) for step in range(500)]
    assert stopped_at(chance.gauss(loss, noise) for loss in curve) is None


@given(st.integers(0, 10**6), st.integers(WARM_UP, 200), st.floats(0.1, 4), st.floats(0.0, 0.1), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_a_blow_up_is_noticed(seed: int, calm: int, level: float, noise: float, patience: int) -> None:
    before = noisy(seed, calm, level, noise * level)
    assert stopped_at([*before, *[level * 3 + 5] * 50], Recovery(patience=patience)) == calm + patience - 1


def test_single_spikes_are_forgiven_and_do_not_move_the_mean() -> None:
    calm = [2.0 + 0.01 * (n % 3) for n in range(20)]
    assert stopped_at([*calm, 50.0, 50.0, *calm, 50.0, 50.0, *calm]) is None
    assert stopped_at([*calm, 50.0, 50.0, 50.0]) == 22
    assert stopped_at([*calm, 50.0, NAN, 50.0]) == 22
    assert stopped_at([*calm, *[50.0] * 9], Recovery(loss_sigmas=0.0)) is None
    assert stopped_at([*calm, *[NAN] * 9], Recovery(loss_sigmas=0.0)) == 22


def test_a_resumed_run_remembers() -> None:
    log = [{"loss": 2.0, "step": 10 * n} for n in range(20)] + [{"eval_loss": 2.5, "step": 200}, {"train_loss": 1.0}]
    fresh, resumed = DivergenceGuard("float32", Recovery()), DivergenceGuard("float32", Recovery())
    resumed.replay(log)
    assert not fresh.suspicious(9.0)
    assert resumed.suspicious(9.0)
    assert not resumed.doubtful
    resumed.watch(210, {"loss": 9.0})
    assert resumed.doubtful
    resumed.watch(220, {"loss": 9.0})
    assert resumed.watch(230, {"loss": 9.0})
    failure = resumed.failure(remedy(0.1), "The last good checkpoint is kept.")
    assert failure is not None
    for words in ("rose to 9 at step 230", "running mean of 2", "it was 2 at step 190", "3 logged values", "is kept."):
        assert words in failure.message


def test_lost_weights_need_no_patience() -> None:
    guard = DivergenceGuard("float32", Recovery())
    guard.lost(7)
    assert guard.doubtful
    assert "by step 7" in guard.failure("", remedy(0.1)).message


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_the_running_mean_stays_within_what_it_has_seen(losses: list[float]) -> None:
    running = RunningLoss()
    for loss in losses:
        running.add(loss)
    assert min(losses) - 1e-9 <= running.mean <= max(losses) + 1e-9
    assert 0 <= running.variance <= (max(losses) - min(losses)) ** 2 + 1e-9
    assert RunningLoss().sigmas(5.0) == 0
