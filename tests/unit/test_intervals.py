"""Intervals against references, and what must hold of them whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kubetune_contract import MetricName
from kubetune_evaluator import corpus
from kubetune_evaluator.intervals import bca_interval, estimate, exact_pair, skew_t, skew_t_p, unseen, unseen_share
from kubetune_evaluator.paired import CorpusDifference, Floats, Groups, MeanDifference
from kubetune_evaluator.statistics import mcnemar

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
"""Differences of Student's sleep data (Cushny and Peebles 1905)."""
COUNTS = st.integers(0, 40)
DIFFERENCES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=3, max_size=60)


def mean(values: list[float] | Floats, groups: Groups | None = None, bound: float = 1.0) -> MeanDifference:
    return MeanDifference(np.asarray(values, dtype=np.float64), groups, bound)


def test_the_lower_end_of_right_skewed_values_is_students() -> None:
    e = estimate(mean(SLEEP, bound=9.0), 0.05)
    expected = stats.ttest_1samp(SLEEP, 0.0)
    assert e.difference == pytest.approx(1.58)
    assert e.low == pytest.approx(expected.confidence_interval(0.95).low)
    assert e.p_value == pytest.approx(expected.pvalue)
    # The one patient with 4.6 hours makes the other end longer.
    assert e.high > expected.confidence_interval(0.95).high + 0.5
    assert (e.method, e.groups) == ("skew-t", 10)


@settings(deadline=None)
@given(DIFFERENCES, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_is_never_shorter_than_students(values: list[float], alpha: float) -> None:
    e = estimate(mean(values), alpha)
    if e.deviation > 0:
        reach = stats.t.ppf(1 - alpha / 2, e.n - 1) * np.std(values, ddof=1) / e.n**0.5
        assert e.low <= e.difference - reach + 1e-9
        assert e.high >= e.difference + reach - 1e-9


@settings(deadline=None)
@given(DIFFERENCES, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(values: list[float], random: object) -> None:
    mixed = list(values)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    first, second = estimate(mean(values), 0.05), estimate(mean(mixed), 0.05)
    assert (first.low, first.high, first.p_value) == pytest.approx((second.low, second.high, second.p_value), abs=1e-9)


@settings(deadline=None)
@given(DIFFERENCES)
def test_points_are_shares_times_a_hundred(values: list[float]) -> None:
    share, points = estimate(mean(values), 0.05), estimate(mean(100 * np.array(values), bound=100.0), 0.05)
    assert (100 * share.low, 100 * share.high) == pytest.approx((points.low, points.high), abs=1e-6)
    assert share.p_value == pytest.approx(points.p_value, abs=1e-9)


@settings(deadline=None)
@given(DIFFERENCES)
def test_turned_round_the_interval_is_turned_round(values: list[float]) -> None:
    one, other = estimate(mean(values), 0.05), estimate(mean(-np.array(values)), 0.05)
    assert (one.low, one.high, one.p_value) == pytest.approx((-other.high, -other.low, other.p_value), abs=1e-9)


@settings(deadline=None)
@given(DIFFERENCES, st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_more_confidence_is_a_longer_interval(values: list[float], first: float, second: float) -> None:
    sure, unsure = (estimate(mean(values), alpha) for alpha in sorted((first, second)))
    assert sure.low <= unsure.low + 1e-12
    assert sure.high >= unsure.high - 1e-12


@settings(deadline=None)
@given(DIFFERENCES, st.sampled_from([0.01, 0.05, 0.3]))
def test_p_is_below_alpha_just_when_the_interval_leaves_out_zero(values: list[float], alpha: float) -> None:
    e = estimate(mean(values), alpha)
    if min(abs(e.low), abs(e.high)) > 1e-9:
        assert (e.p_value < alpha) == (e.low > 0 or e.high < 0)


@settings(deadline=None)
@given(st.floats(-8, 8), st.integers(3, 300), st.sampled_from([0.01, 0.05, 0.2]))
def test_an_end_at_zero_has_the_p_of_its_level(shape: float, n: int, alpha: float) -> None:
    down, up = skew_t(shape, n, n - 1.0, alpha)
    assert skew_t_p(down, shape, n, n - 1.0) == pytest.approx(alpha)
    assert skew_t_p(-up, shape, n, n - 1.0) == pytest.approx(alpha)


@pytest.mark.parametrize("n", [2, 3, 6, 15, 60, 300])
@pytest.mark.parametrize("value", [0.0, 0.05, 1.0, -0.3])
def test_values_that_do_not_vary_never_give_a_point(n: int, value: float) -> None:
    e = estimate(mean(np.full(n, value)), 0.05)
    assert e.low < value < e.high or (value == 1.0 and e.low < value)
    assert (e.low, e.high) == pytest.approx(unseen(value, n, 1.0, 0.05))
    # All gained: five items are too few, six suffice, as with coins.
    if value == 1.0:
        assert (e.low > 0) == (n >= 6)


def test_the_unseen_share_is_clopper_and_pearsons() -> None:
    for n in (1, 15, 72, 300):
        assert unseen_share(n, 0.05) == pytest.approx(stats.beta.ppf(0.975, 1, n))
    assert unseen_share(72, 0.05) < 0.05 < unseen_share(71, 0.05)


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS)
def test_the_exact_interval_lies_above_zero_just_when_mcnemar_says_so(gained: int, lost: int, level: int) -> None:
    if gained + lost + level < 2:
        return
    low, high = exact_pair(gained, lost, level, 0.05)
    p_value = mcnemar(np.array([1.0] * gained + [-1.0] * lost))
    if abs(p_value - 0.05) > 1e-9:
        assert (low > 0 or high < 0) == (p_value < 0.05)
    difference = (gained - lost) / (gained + lost + level)
    assert -1 <= low <= difference <= high <= 1
    assert low < high


@settings(deadline=None)
@given(COUNTS, COUNTS, st.integers(1, 40))
def test_one_more_gain_never_lowers_the_exact_interval(gained: int, lost: int, level: int) -> None:
    before, after = exact_pair(gained, lost, level, 0.05), exact_pair(gained + 1, lost, level - 1, 0.05)
    assert after[0] >= before[0] - 1e-7
    assert after[1] >= before[1] - 1e-7


def test_a_share_against_nothing_has_clopper_and_pearsons_bound() -> None:
    """No item lost and none to lose: the upper end is that of the gained items' share."""
    for gained, level in ((0, 15), (3, 27), (10, 90)):
        expected = stats.binomtest(gained, gained + level).proportion_ci(0.95, "exact").high
        assert exact_pair(gained, 0, level, 0.05)[1] == pytest.approx(expected, abs=2e-3)


def test_the_exact_interval_is_the_dirichlets_quantile() -> None:
    weights = np.random.default_rng(1).dirichlet([20, 6, 50], 200_000)
    low, _ = exact_pair(20, 5, 50, 0.05)
    assert low == pytest.approx(float(np.quantile(weights[:, 0] - weights[:, 1], 0.025)), abs=1e-3)


@pytest.mark.parametrize("n", [8, 15])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
def test_the_exact_interval_errs_no_more_than_it_says(n: int, margin: float) -> None:
    """All outcomes of n items with their probabilities: neither end misses the truth in more than 2.5 %."""
    counts = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    ends = [exact_pair(b, c, n - b - c, 0.05) for b, c in counts]
    for lost in (0.0, 0.02, 0.1, 0.2, 0.35):
        gained = lost + margin
        chances = stats.multinomial.pmf([(b, c, n - b - c) for b, c in counts], n, [gained, lost, 1 - gained - lost])
        above = sum(chance for chance, (low, _) in zip(chances, ends, strict=True) if low > margin)
        below = sum(chance for chance, (_, high) in zip(chances, ends, strict=True) if high < margin)
        assert above <= 0.025
        assert below <= 0.025


def test_bootstrap_is_reproducible_and_close_to_t() -> None:
    sample = mean(np.random.default_rng(5).normal(0.1, 0.2, 200))
    first, second = (bca_interval(sample, 0.05, seed=7) for _ in range(2))
    e = estimate(sample, 0.05)
    assert first == second
    assert first == pytest.approx((e.low, e.high), abs=0.01)


def corpus_pair(n: int, seed: int, groups: Groups | None = None) -> CorpusDifference:
    rng = np.random.default_rng(seed)
    words = np.array(["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "sings", "here", "there", "now"])
    references = [" ".join(rng.choice(words, 8)) for _ in range(n)]

    def answers(noise: float) -> list[str]:
        return [" ".join(w if rng.random() > noise else rng.choice(words) for w in r.split()) for r in references]

    metric = MetricName.CHRF
    return CorpusDifference(
        metric, corpus.counts(metric, references, answers(0.2)), corpus.counts(metric, references, answers(0.4)), groups
    )


def test_jackknife_and_bootstrap_of_a_corpus_metric_agree() -> None:
    pair = corpus_pair(120, seed=1)
    e = estimate(pair, 0.05)
    ends = bca_interval(pair, 0.05, seed=1)
    assert e.method == "jackknife-skew-t"
    assert ends is not None
    assert ends == pytest.approx((e.low, e.high), abs=0.25 * (e.high - e.low))
    assert pair.pseudo_values().mean() == pytest.approx(e.difference, abs=0.05 * (e.high - e.low))
    assert pair.contributions(2.0).sum() == pytest.approx(e.difference - 2.0)
    assert e.low > 0


def test_swapping_every_item_of_a_corpus_turns_the_sign() -> None:
    pair = corpus_pair(30, seed=2)
    everything = np.ones((1, 30), dtype=bool)
    assert float(pair.swapped(everything)[0]) == pytest.approx(-pair.difference)
    assert float(pair.swapped(~everything)[0]) == pytest.approx(pair.difference)
    assert float(pair.resampled(np.arange(30)[None])[0]) == pytest.approx(pair.difference)


def test_the_jackknife_interval_covers_too() -> None:
    """Items drawn from a large corpus whose own difference is the truth."""
    world = corpus_pair(2000, seed=4)
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(150):
        chosen = rng.integers(0, world.groups.count, 40)
        sample = CorpusDifference(world.metric, world.candidate[chosen], world.baseline[chosen])
        e = estimate(sample, 0.05)
        covered += e.low <= world.difference <= e.high
    assert 0.9 <= covered / 150 <= 0.99


def test_equal_groups_count_as_their_means() -> None:
    groups = Groups.named([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    e = estimate(mean(SLEEP, groups, bound=9.0), 0.05)
    means = SLEEP.reshape(5, 2).mean(axis=1)
    assert e.deviation == pytest.approx(means.std(ddof=1))
    assert e.p_value == pytest.approx(stats.ttest_1samp(means, 0.0).pvalue)
    assert (e.n, e.groups, e.method, groups.freedom) == (10, 5, "cluster-skew-t", 4.0)


def test_unequal_groups_have_the_cr2_error_of_a_regression_on_a_constant() -> None:
    """Bell and McCaffrey's matrices written out: the adjustment (I - H)^(-1/2) of each group's residuals."""
    names = [0, 0, 0, 0, 1, 1, 2, 3, 3, 4]
    groups = Groups.named(names)
    n = len(names)
    hat = np.full((n, n), 1 / n)
    residuals = SLEEP - SLEEP.mean()
    meat, rows = 0.0, []
    for group in range(5):
        at = np.flatnonzero(np.array(names) == group)
        values, vectors = np.linalg.eigh(np.eye(len(at)) - hat[np.ix_(at, at)])
        adjusted = vectors @ np.diag(values**-0.5) @ vectors.T
        meat += float(adjusted.sum(axis=0) @ residuals[at]) ** 2
        rows.append(adjusted.sum(axis=0) @ (np.eye(n) - hat)[at])
    error = meat**0.5 / n
    e = estimate(mean(SLEEP, groups, bound=9.0), 0.05)
    assert e.deviation / e.groups**0.5 == pytest.approx(error)
    spectrum = np.linalg.eigvalsh(np.array(rows) @ np.array(rows).T)
    assert groups.freedom == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum())


@settings(deadline=None)
@given(DIFFERENCES, st.integers(1, 4))
def test_items_repeated_in_their_group_change_nothing(values: list[float], times: int) -> None:
    repeated = mean(np.repeat(values, times), Groups.named(np.repeat(np.arange(len(values)), times)))
    one, many = estimate(mean(values), 0.05), estimate(repeated, 0.05)
    assert (one.low, one.high, one.p_value) == pytest.approx((many.low, many.high, many.p_value), abs=1e-9)


def test_a_corpus_in_groups_is_jackknifed_by_group() -> None:
    groups = Groups.named(np.arange(60) // 5)
    alone, grouped = estimate(corpus_pair(60, seed=3), 0.05), estimate(corpus_pair(60, seed=3, groups=groups), 0.05)
    assert grouped.method == "jackknife-cluster-skew-t"
    assert (grouped.n, grouped.groups) == (60, 12)
    assert grouped.difference == pytest.approx(alone.difference)
    pair = corpus_pair(60, seed=3, groups=groups)
    assert float(pair.swapped(np.ones((1, 12), dtype=bool))[0]) == pytest.approx(-pair.difference)
    assert float(pair.resampled(np.arange(12)[None])[0]) == pytest.approx(pair.difference)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_groups_never_have_more_freedom_than_their_number_less_one(names: list[int]) -> None:
    groups = Groups.named(names)
    if groups.count > 1:
        assert 0.9 <= groups.freedom <= groups.count - 1 + 1e-9
