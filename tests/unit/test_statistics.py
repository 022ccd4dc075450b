"""Paired statistics against published data, closed forms and small simulations."""

from __future__ import annotations

import numpy as np
import pytest

from kubetune_contract import MetricName
from kubetune_evaluator import corpus, statistics
from kubetune_evaluator.statistics import CorpusDifference, MeanDifference

# Student's sleep data (Cushny and Peebles 1905): extra hours of sleep of ten patients under two drugs.
FIRST = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SECOND = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_t_interval_on_the_sleep_data() -> None:
    e = statistics.estimate(MeanDifference(SECOND - FIRST), alpha=0.05)
    assert e.difference == pytest.approx(1.58)
    assert e.p_value == pytest.approx(0.002833, abs=5e-7)
    assert (e.low, e.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert e.difference / (e.deviation / e.n**0.5) == pytest.approx(4.0621, abs=5e-5)


def test_effect_sizes_on_the_sleep_data() -> None:
    effect = statistics.effect_size(SECOND, FIRST, alpha=0.05)
    assert effect is not None
    assert effect.d_z == pytest.approx(1.2846, abs=5e-5)
    assert effect.d_av == pytest.approx(0.8334, abs=5e-4)
    assert effect.g_z == pytest.approx(1.2846 * (1 - 3 / 35), abs=1e-3)
    assert 0.3 < effect.d_z_low < effect.d_z < effect.d_z_high < 2.3


def test_effect_size_of_differences_that_do_not_vary_is_undefined() -> None:
    assert statistics.effect_size(np.array([0.3, 0.1]), np.array([0.2, 0.0]), 0.05) is None


def test_differences_that_do_not_vary_give_a_point() -> None:
    e = statistics.estimate(MeanDifference(np.full(7, 0.1)), alpha=0.05)
    assert (e.low, e.difference, e.high, e.p_value) == pytest.approx((0.1, 0.1, 0.1, 0.0))
    none = statistics.estimate(MeanDifference(np.zeros(7)), alpha=0.05)
    assert (none.low, none.high, none.p_value) == (0.0, 0.0, 1.0)


def test_sign_flips_are_enumerated_when_few() -> None:
    # All six positive: 2 of 2^6 assignments reach the observed mean.
    assert statistics.sign_flip(MeanDifference(np.ones(6)), seed=1) == pytest.approx(2 / 64)
    # Zeros move nothing, whatever their number.
    padded = np.concatenate([np.ones(6), np.zeros(500)])
    assert statistics.sign_flip(MeanDifference(padded), seed=1) == pytest.approx(2 / 64)


def test_sampled_sign_flips_agree_with_the_t_test_and_never_give_zero() -> None:
    rng = np.random.default_rng(3)
    sample = MeanDifference(rng.normal(0.2, 1.0, 120))
    expected = statistics.estimate(sample, 0.05).p_value
    assert statistics.sign_flip(sample, seed=1) == pytest.approx(expected, abs=0.02)
    assert statistics.sign_flip(MeanDifference(np.ones(40)), seed=1) == pytest.approx(1 / 10_001)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"), [(6, 0, 0.03125), (5, 0, 0.0625), (12, 3, 0.035156), (0, 0, 1.0)]
)
def test_mcnemar(gained: int, lost: int, expected: float) -> None:
    differences = np.array([1.0] * gained + [-1.0] * lost + [0.0] * 60)
    assert statistics.mcnemar(differences) == pytest.approx(expected, abs=1e-6)


def test_wilcoxon_tells_the_direction() -> None:
    p_value, direction = statistics.wilcoxon(SECOND - FIRST)
    assert p_value < 0.02
    assert direction == 1
    assert statistics.wilcoxon(FIRST - SECOND)[1] == -1
    assert statistics.wilcoxon(np.zeros(5)) == (1.0, 0)


def test_bootstrap_is_reproducible_and_close_to_t() -> None:
    sample = MeanDifference(np.random.default_rng(5).normal(0.1, 0.5, 200))
    first, second = (statistics.bca_interval(sample, 0.05, seed=7) for _ in range(2))
    e = statistics.estimate(sample, 0.05)
    assert first == second
    assert first == pytest.approx((e.low, e.high), abs=0.01)


def corpus_pair(n: int, seed: int) -> CorpusDifference:
    rng = np.random.default_rng(seed)
    words = np.array(["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "sings", "here", "there", "now"])
    references = [" ".join(rng.choice(words, 8)) for _ in range(n)]

    def answers(noise: float) -> list[str]:
        return [" ".join(w if rng.random() > noise else rng.choice(words) for w in r.split()) for r in references]

    metric = MetricName.CHRF
    return CorpusDifference(
        metric, corpus.counts(metric, references, answers(0.2)), corpus.counts(metric, references, answers(0.4))
    )


def test_jackknife_and_bootstrap_of_a_corpus_metric_agree() -> None:
    pair = corpus_pair(120, seed=1)
    e = statistics.estimate(pair, 0.05)
    ends = statistics.bca_interval(pair, 0.05, seed=1)
    assert e.method == "jackknife-t"
    assert ends is not None
    assert ends == pytest.approx((e.low, e.high), abs=0.25 * (e.high - e.low))
    assert pair.pseudo_values().mean() == pytest.approx(e.difference, abs=0.05 * (e.high - e.low))
    assert e.low > 0
    assert statistics.sign_flip(pair, seed=1) < 0.001


def test_swapping_every_item_of_a_corpus_turns_the_sign() -> None:
    pair = corpus_pair(30, seed=2)
    everything = np.ones((1, 30), dtype=bool)
    assert float(pair.swapped(everything)[0]) == pytest.approx(-pair.difference)
    assert float(pair.swapped(~everything)[0]) == pytest.approx(pair.difference)
    assert float(pair.resampled(np.arange(30)[None])[0]) == pytest.approx(pair.difference)


@pytest.mark.parametrize("n", [15, 75])
def test_the_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    """Skewed binary-like differences with true mean 0.1; 95 % within simulation error of 1,000 runs."""
    rng = np.random.default_rng(11)
    draws = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=(1000, n))
    estimates = [statistics.estimate(MeanDifference(row), 0.05) for row in draws]
    covered = np.mean([e.low <= 0.1 <= e.high for e in estimates])
    assert 0.92 <= covered <= 0.99


def test_the_jackknife_interval_covers_too() -> None:
    """Items drawn from a large corpus whose own difference is the truth."""
    world = corpus_pair(2000, seed=4)
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(150):
        chosen = rng.integers(0, world.n, 40)
        sample = CorpusDifference(world.metric, world.candidate[chosen], world.baseline[chosen])
        e = statistics.estimate(sample, 0.05)
        covered += e.low <= world.difference <= e.high
    assert 0.9 <= covered / 150 <= 0.99


def test_items_needed_has_the_power_it_promises() -> None:
    needed = statistics.items_needed(deviation=0.5, distance=0.1, alpha=0.05)
    assert needed == 197
    draws = np.random.default_rng(13).normal(0.1, 0.5, size=(1000, needed))
    found = np.mean([statistics.estimate(MeanDifference(row), 0.05).low > 0 for row in draws])
    assert 0.76 <= found <= 0.84
    assert statistics.items_needed(0.5, 0.0, 0.05) is None


def test_false_discovery_rates() -> None:
    assert statistics.false_discovery([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.false_discovery([]) == []
