"""Tests and effect sizes against published data and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kubetune_evaluator import statistics
from kubetune_evaluator.paired import Groups, MeanDifference

# Student's sleep data (Cushny and Peebles 1905): extra hours of sleep of ten patients under two drugs.
FIRST = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SECOND = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_effect_sizes_on_the_sleep_data() -> None:
    effect = statistics.effect_size(SECOND, FIRST, alpha=0.05)
    assert effect is not None
    assert effect.d_z == pytest.approx(1.2846, abs=5e-5)
    assert effect.d_av == pytest.approx(0.8334, abs=5e-4)
    assert effect.g_z == pytest.approx(1.2845581 * 0.9138749, abs=1e-6)
    assert 0.3 < effect.d_z_low < effect.d_z < effect.d_z_high < 2.3


def test_effect_size_of_differences_that_do_not_vary_is_undefined() -> None:
    assert statistics.effect_size(np.array([0.3, 0.1]), np.array([0.2, 0.0]), 0.05) is None


@pytest.mark.parametrize(("freedom", "expected"), [(1, 0.0), (2, np.pi**-0.5), (3, (np.pi / 6) ** 0.5), (9, 0.913875)])
def test_hedges_correction_is_exact(freedom: int, expected: float) -> None:
    """Gamma functions; 1 - 3 / (4 df - 1) gives 0.914286 with 9 degrees of freedom."""
    assert statistics.hedges(freedom) == pytest.approx(expected, abs=1e-6)


def test_sign_flips_are_enumerated_when_few() -> None:
    # All six positive: 2 of 2^6 assignments reach the observed mean.
    assert statistics.sign_flip(MeanDifference(np.ones(6)), seed=1) == pytest.approx(2 / 64)
    # Zeros move nothing, whatever their number.
    padded = np.concatenate([np.ones(6), np.zeros(500)])
    assert statistics.sign_flip(MeanDifference(padded), seed=1) == pytest.approx(2 / 64)


def test_sign_flips_agree_with_scipys_permutation_test() -> None:
    values = SECOND - FIRST
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert statistics.sign_flip(MeanDifference(values), seed=1) == pytest.approx(expected)
    moved = stats.permutation_test((values - 0.5,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert statistics.sign_flip(MeanDifference(values), seed=1, null=0.5) == pytest.approx(moved)


def test_groups_are_exchanged_as_a_whole() -> None:
    """Six gains in two groups are two coins, not six."""
    assert statistics.sign_flip(MeanDifference(np.ones(6), Groups.named("aaabbb")), seed=1) == pytest.approx(2 / 4)


def test_sampled_sign_flips_agree_with_the_t_test_and_never_give_zero() -> None:
    rng = np.random.default_rng(3)
    sample = MeanDifference(rng.normal(0.2, 1.0, 120), bound=9.0)
    expected = float(stats.ttest_1samp(sample.values, 0.0).pvalue)
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


def test_false_discovery_rates() -> None:
    assert statistics.false_discovery([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.false_discovery([]) == []
