"""The rule that the gate followed before: Student's t and checks of a Go alone. Kept as the table's other column.

Items count one by one, whatever group they are of; a NoGo has no check below 50 items.
"""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from kubetune_contract import Verdict
from kubetune_evaluator import statistics
from kubetune_evaluator.intervals import t_quantile
from kubetune_evaluator.paired import Floats, MeanDifference

CHECKED_BY_BOOTSTRAP = 50


def interval(values: Floats, alpha: float) -> tuple[float, float]:
    """Student's t; a point where the values do not vary."""
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation < 1e-12:
        return mean, mean
    reach = t_quantile(alpha, len(values) - 1.0) * deviation / len(values) ** 0.5
    return mean - reach, mean + reach


def verdict(values: Floats, *, binary: bool, margin: float, alpha: float, seed: int, resamples: int) -> Verdict:
    low, high = interval(values, alpha)
    mean = float(values.mean())
    if low > 0 and mean >= margin:
        return Verdict.GO if _agree(values, binary, alpha, seed, resamples) else Verdict.INCONCLUSIVE
    if _misses(high, margin):
        ends = _bootstrap(values, alpha, seed, resamples)
        return Verdict.NO_GO if ends is None or _misses(ends[1], margin) else Verdict.INCONCLUSIVE
    return Verdict.INCONCLUSIVE


def _misses(high: float, margin: float) -> bool:
    return high < margin or (margin == 0.0 and high <= 0.0)


def _agree(values: Floats, binary: bool, alpha: float, seed: int, resamples: int) -> bool:
    p_value = (
        statistics.mcnemar(values)
        if binary
        else statistics.sign_flip(MeanDifference(values), seed, resamples=resamples)
    )
    if p_value >= alpha:
        return False
    ends = _bootstrap(values, alpha, seed, resamples)
    if ends is not None and ends[0] <= 0:
        return False
    p_value, direction = statistics.wilcoxon(values)
    return not (direction < 0 and p_value < alpha)


def _bootstrap(values: Floats, alpha: float, seed: int, resamples: int) -> tuple[float, float] | None:
    """BCa (Efron 1987)."""
    n = len(values)
    if n < CHECKED_BY_BOOTSTRAP or values.std() < 1e-12:
        return None
    means = np.sort(values[np.random.default_rng(seed).integers(0, n, (resamples, n))].mean(axis=1))
    mean = values.mean()
    share = ((means < mean).mean() + (means <= mean).mean()) / 2
    moved = (values.sum() - values) / (n - 1)
    off = moved.mean() - moved
    acceleration = (off**3).sum() / (6 * ((off**2).sum()) ** 1.5)
    bias = special.ndtri(np.clip(share, 1e-9, 1 - 1e-9))
    sides = bias + special.ndtri(np.array([alpha / 2, 1 - alpha / 2]))
    levels = stats.norm.cdf(bias + sides / (1 - acceleration * sides))
    low, high = np.quantile(means, levels)
    return float(low), float(high)
