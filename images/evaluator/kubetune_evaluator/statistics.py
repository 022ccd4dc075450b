"""Tests and effect sizes beside the interval. Pure; their sources are in docs/evaluation.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from .intervals import CELLS, RESAMPLES
from .paired import CorpusDifference, Flags, Floats, Paired

_EXACT_FLIPS = 20
"""Up to this many groups that differ every assignment of signs is enumerated."""


def sign_flip(paired: Paired, seed: int, null: float = 0.0, resamples: int = RESAMPLES) -> float:
    """Two-sided p of exchanging candidate and baseline within groups (Fisher's randomisation test).

    With ``null``, of a difference of that size, for gains that lie symmetrically about it. Up to 20 groups that differ
    are enumerated exactly; else 10,000 draws, the observed assignment counted among them, so that p is never 0.
    """
    observed = abs(paired.difference - null)
    if isinstance(paired, CorpusDifference) and null == 0.0:
        return _drawn(paired.swapped, paired.groups.count, observed, seed, resamples)
    parts = paired.contributions(null)
    moving = parts[parts != 0.0]
    if len(moving) <= _EXACT_FLIPS:
        return float(np.mean(_reaches(_all_signed_sums(moving), observed)))
    return _drawn(lambda swaps: (1.0 - 2.0 * swaps) @ parts, len(parts), observed, seed, resamples)


def _drawn(exchanged: Callable[[Flags], Floats], n: int, observed: float, seed: int, resamples: int) -> float:
    rng = np.random.default_rng(seed)
    reached, batch = 0, max(1, CELLS // n)
    for start in range(0, resamples, batch):
        rows = min(batch, resamples - start)
        swaps = rng.integers(0, 2, size=(rows, n), dtype=np.int8).astype(bool)
        reached += int(_reaches(exchanged(swaps), observed).sum())
    return (reached + 1) / (resamples + 1)


def _all_signed_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _reaches(differences: Floats, observed: float) -> Flags:
    """Whether a permuted difference is as large as the observed one, rounding aside."""
    return np.asarray(np.abs(differences) >= observed - 1e-9 * max(1.0, observed))


def mcnemar(differences: Floats) -> float:
    """Exact two-sided p of a binary metric: a sign test on the items that only one of both got right."""
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def wilcoxon(differences: Floats) -> tuple[float, int]:
    """Signed-rank test with Pratt's treatment of zeros: two-sided p and the direction of the shift (1, 0 or -1)."""
    if not differences.any():
        return 1.0, 0
    ranks = stats.rankdata(np.abs(differences)) * np.sign(differences)
    found = stats.wilcoxon(differences, zero_method="pratt", method="auto")
    return float(found.pvalue), int(np.sign(round(float(ranks.sum()), 6)))


@dataclass(frozen=True)
class EffectSize:
    """Standardised differences; never gated on. Names follow Lakens 2013."""

    d_z: float
    """Mean over the standard deviation of the differences."""
    d_z_low: float
    d_z_high: float
    g_z: float
    """d_z with Hedges' correction for few items."""
    d_av: float | None
    """Mean over the average of both standard deviations: the scale on which 0.8 is called large."""


def effect_size(candidate: Floats, baseline: Floats, alpha: float) -> EffectSize | None:
    """None where the differences do not vary."""
    differences = candidate - baseline
    deviation, n = spread(differences), len(differences)
    if deviation == 0.0:
        return None
    d_z = float(differences.mean()) / deviation
    # Its standard error in large samples (Borenstein 2009); the exact one needs a distribution that scipy cannot
    # always evaluate.
    reach = float(stats.norm.ppf(1 - alpha / 2)) * ((1 + d_z * d_z / 2) / n) ** 0.5
    average = (spread(candidate) + spread(baseline)) / 2
    d_av = float(differences.mean()) / average if average else None
    return EffectSize(d_z, d_z - reach, d_z + reach, d_z * hedges(n - 1), d_av)


def hedges(freedom: int) -> float:
    """J of Hedges 1981, exactly: what makes a standardised difference with so many degrees of freedom unbiased."""
    logs = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    return float(np.exp(logs) * (2 / freedom) ** 0.5) if freedom > 1 else 0.0


def spread(values: Floats) -> float:
    """Sample standard deviation; exactly 0 where only rounding makes the values differ."""
    deviation = float(values.std(ddof=1))
    return 0.0 if deviation <= 1e-12 * max(1.0, float(np.abs(values).max())) else deviation


def false_discovery(p_values: list[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p values, in the order given."""
    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []
