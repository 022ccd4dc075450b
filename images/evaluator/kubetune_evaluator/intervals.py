"""Intervals of a paired difference that hold for the data people have. Pure; why these: docs/evaluation.md.

- ``skew_t``: Student's t, widened where the differences are skewed (Hall 1992), over groups.
- ``exact_pair``: for 0/1 scores without groups; at no difference it is McNemar's exact test (Gaffke 2005).
- ``unseen``: how far a loss or gain that no item showed could move the difference.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from scipy import optimize, special, stats

from .paired import CorpusDifference, Floats, MeanDifference, Paired

RESAMPLES = 10_000
CELLS = 2_000_000
"""Upper bound of a temporary array's rows times items."""
SKEWNESS_OF_FEW = 12.0
"""The skewness of n values is taken 1 + 12/n times: few values show too little of it. Chosen by simulation: with it the
interval of exponential differences misses the truth as often as it says from 15 values on."""
GUARDED_SHARE = 0.05
"""Losses that hit one item in 20 or more are guarded against, also where no item showed one."""
_NODES = 400
_ROUNDING = 1e-9
"""A spread below this share of the metric's scale is rounding."""


@dataclass(frozen=True)
class Estimate:
    """The difference with its two-sided 1 - alpha interval."""

    difference: float
    low: float
    high: float
    n: int
    groups: int
    """Groups that the items come in; ``n`` where each is one by itself."""
    deviation: float
    """Standard deviation of the groups' (pseudo-)differences."""
    p_value: float
    """Of no difference, two-sided, by the interval's own method."""
    method: str
    discordant: int | None = None
    """Items that only one of both got right, where the interval is made of them."""


def estimate(paired: Paired, alpha: float, *, binary: bool = False) -> Estimate:
    """The interval that fits; needs two groups or more. ``binary``: every score is 0 or 1."""
    grouped = not paired.groups.are_items
    if binary and not grouped and isinstance(paired, MeanDifference):
        return _exact(paired, alpha)
    prefix = ("jackknife-" if isinstance(paired, CorpusDifference) else "") + ("cluster-" if grouped else "")
    return _skewed(paired, alpha, f"{prefix}skew-t")


def _exact(paired: MeanDifference, alpha: float) -> Estimate:
    values = paired.values
    gained, lost = int((values > 0).sum()), int((values < 0).sum())
    low, high = exact_pair(gained, lost, len(values) - gained - lost, alpha)
    p_value = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    n, deviation = len(values), float(values.std(ddof=1))
    return Estimate(paired.difference, low, high, n, n, deviation, p_value, "exact-pair", gained + lost)


def _skewed(paired: Paired, alpha: float, method: str) -> Estimate:
    groups, difference = paired.groups, paired.difference
    n, count = len(groups.of), groups.count
    deviations = paired.deviations()
    deviation = float((deviations @ deviations / (count - 1)) ** 0.5)
    if deviation <= _ROUNDING * paired.bound:
        # Values that do not vary say nothing of their spread, so only the unseen bounds them.
        low, high = unseen(difference, count, paired.bound, alpha)
        p_value = min(1.0, 2.0 * (1.0 + abs(difference) / paired.bound) ** -count)
        return Estimate(difference, low, high, n, count, 0.0, p_value, method)
    shape = skewness(deviations)
    error = deviation / count**0.5
    down, up = skew_t(shape, count, groups.freedom, alpha)
    p_value = skew_t_p(difference / error, shape, count, groups.freedom)
    return Estimate(
        difference, difference - down * error, difference + up * error, n, count, deviation, p_value, method
    )


def skewness(values: Floats) -> float:
    """Of the population that ``values`` come from: Fisher's, corrected for few values; 0 with two values."""
    n = len(values)
    if n < 3:
        return 0.0
    centred = values - values.mean()
    second = float((centred**2).mean())
    plain = float((centred**3).mean()) / second**1.5 if second > 0.0 else 0.0
    return plain * sqrt(n * (n - 1)) / (n - 2) * (1 + SKEWNESS_OF_FEW / n)


def skew_t(shape: float, n: int, freedom: float, alpha: float) -> tuple[float, float]:
    """How many standard errors an interval reaches below and above the estimate.

    The longer of Student's t and of its transformation for skewness (Hall 1992, the monotone cubic): skewness makes an
    interval longer at one end, never shorter at the other.
    """
    quantile = t_quantile(alpha, freedom)
    return max(quantile, _back(quantile, shape, n)), max(quantile, _back(quantile, -shape, n))


def skew_t_p(statistic: float, shape: float, n: int, freedom: float) -> float:
    """Two-sided p of no difference that agrees with ``skew_t``: it is alpha where an end of the interval is 0."""
    towards = shape if statistic > 0 else -shape
    reached = min(abs(statistic), _forth(abs(statistic), towards, n))
    return min(1.0, 2.0 * float(special.stdtr(freedom, -reached)))


def _forth(statistic: float, shape: float, n: int) -> float:
    """Hall's transformation of a studentised mean: nearly Student's t where the values have the skewness ``shape``."""
    ratio = statistic / sqrt(n)
    return sqrt(n) * (ratio + shape * ratio**2 / 3 + shape**2 * ratio**3 / 27 + shape / (6 * n))


def _back(quantile: float, shape: float, n: int) -> float:
    """Its inverse."""
    if abs(shape) < 1e-6:
        return quantile
    inner = 1 + shape * (quantile / sqrt(n) - shape / (6 * n))
    return 3 / shape * (float(np.cbrt(inner)) - 1) * sqrt(n)


@lru_cache(maxsize=4096)
def t_quantile(alpha: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, 1 - alpha / 2))


def unseen(difference: float, n: int, bound: float, alpha: float) -> tuple[float, float]:
    """The difference if the share of items that can hide from ``n`` of them all lost, or all gained, ``bound``.

    A share larger than ``unseen_share`` shows itself among n items with probability 1 - alpha / 2. An interval that
    rests on what was seen cannot know of it: 15 small gains say nothing of a disaster on one item in 20.
    """
    share = unseen_share(n, alpha)
    kept = (1 - share) * difference
    return kept - share * bound, kept + share * bound


def unseen_share(n: int, alpha: float) -> float:
    """The largest share of items of which none is among ``n`` with probability alpha / 2."""
    return float(1 - (alpha / 2) ** (1 / n))


@lru_cache(maxsize=65536)
def exact_pair(gained: float, lost: float, level: float, alpha: float) -> tuple[float, float]:
    """Interval of the difference of two paired shares, from the items that only one got right and those alike.

    Each end is Gaffke's bound for a mean of values in [-1, 1] (2005; Learned-Miller and Thomas 2020): the quantile of
    Dirichlet weighted means with one item more, the worst there can be. With a single share it is Clopper and
    Pearson's bound; and the lower end lies above 0 just when McNemar's exact test says p < alpha.
    """
    return _lower(gained, lost, level, alpha), -_lower(lost, gained, level, alpha)


def _lower(gained: float, lost: float, level: float, alpha: float) -> float:
    if gained == 0:
        return -float(special.betaincinv(lost + 1, level, 1 - alpha / 2)) if level else -1.0
    # The weight of the items that differ, at the middle of equally likely parts; within it, the share of the gained.
    middles = (np.arange(_NODES) + 0.5) / _NODES
    weight = special.betaincinv(gained + lost + 1, level, middles) if level else np.ones(1)

    def beyond(mean: float) -> float:
        below = special.betainc(gained, lost + 1, np.clip((1 + mean / weight) / 2, 0, 1))
        return float(below.mean()) - alpha / 2

    # The sign needs no search: it is McNemar's.
    at_zero = beyond(0.0)
    if at_zero == 0.0:
        return 0.0
    return float(optimize.brentq(beyond, *((-1.0, 0.0) if at_zero > 0 else (0.0, 1.0)), xtol=1e-9))


def bca_interval(paired: Paired, alpha: float, seed: int, resamples: int = RESAMPLES) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bootstrap over groups (Efron 1987); None where the data leave it undefined."""
    count = paired.groups.count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(count),),
            lambda indices, axis: paired.resampled(indices.astype(np.intp)),
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, CELLS // count),
            confidence_level=1 - alpha,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None
