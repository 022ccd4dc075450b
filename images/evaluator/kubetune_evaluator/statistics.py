"""Paired statistics over test items. Pure; the choices and their sources are explained in docs/evaluation.md.

The unit is the item: candidate and baseline answer the same prompts, so only differences within an item count. The
interval is Student's t on those differences, because it keeps its coverage with few items, where bootstraps are too
narrow (Bowyer et al. 2025). Corpus metrics have no differences per item; their jackknife pseudo-values stand in.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from kubetune_contract import MetricName

from .corpus import Counts, formula

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

RESAMPLES = 10_000
_EXACT_FLIPS = 20
"""Up to this many non-zero differences every assignment of signs is enumerated."""
_CELLS = 2_000_000
"""Upper bound of a temporary array's rows times items."""


class Paired(Protocol):
    """A candidate and a baseline measured on the same items."""

    @property
    def n(self) -> int: ...

    @property
    def difference(self) -> float:
        """Candidate minus baseline over all items."""
        ...

    def pseudo_values(self) -> Floats:
        """One value per item whose spread over the root of n is the standard error of ``difference``."""
        ...

    def resampled(self, indices: Indices) -> Floats:
        """``difference`` of the samples of items along the last axis."""
        ...

    def swapped(self, swaps: Flags) -> Floats:
        """``difference`` with candidate and baseline exchanged where a flag is set, for each row of flags."""
        ...


@dataclass(frozen=True)
class MeanDifference:
    """A metric that is a mean over items; ``values`` are the items' differences."""

    values: Floats

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def difference(self) -> float:
        return float(self.values.mean())

    def pseudo_values(self) -> Floats:
        return self.values

    def resampled(self, indices: Indices) -> Floats:
        return np.asarray(self.values[indices].mean(axis=-1))

    def swapped(self, swaps: Flags) -> Floats:
        return np.asarray((1.0 - 2.0 * swaps) @ self.values / self.n)


@dataclass(frozen=True)
class CorpusDifference:
    """A metric that is a function of counts summed over items (BLEU, chrF)."""

    metric: MetricName
    candidate: Counts
    baseline: Counts

    @property
    def n(self) -> int:
        return len(self.candidate)

    @property
    def difference(self) -> float:
        return float(self._scores(self.candidate.sum(axis=0), self.baseline.sum(axis=0)))

    def pseudo_values(self) -> Floats:
        """Jackknife (Efron and Tibshirani 1993, chapter 11)."""
        candidate, baseline = self.candidate.sum(axis=0), self.baseline.sum(axis=0)
        without = self._scores(candidate - self.candidate, baseline - self.baseline)
        return np.asarray(self.n * self.difference - (self.n - 1) * without)

    def resampled(self, indices: Indices) -> Floats:
        weights = multiplicities(indices, self.n)
        return self._scores(weights @ self.candidate, weights @ self.baseline)

    def swapped(self, swaps: Flags) -> Floats:
        moved = swaps @ (self.baseline - self.candidate)
        return self._scores(self.candidate.sum(axis=0) + moved, self.baseline.sum(axis=0) - moved)

    def _scores(self, candidate: Counts, baseline: Counts) -> Floats:
        score = formula(self.metric)
        return np.asarray(score(candidate) - score(baseline))


def multiplicities(indices: Indices, n: int) -> Floats:
    """How often each of ``n`` items occurs in each sample along the last axis: sums then are one matrix product."""
    samples = indices.reshape(-1, indices.shape[-1])
    shifted = samples + n * np.arange(len(samples))[:, None]
    found = np.bincount(shifted.ravel(), minlength=n * len(samples))
    return found.reshape(*indices.shape[:-1], n).astype(np.float64)


@dataclass(frozen=True)
class Estimate:
    """The difference with its two-sided 1 - alpha interval."""

    difference: float
    low: float
    high: float
    n: int
    deviation: float
    """Standard deviation of the items' (pseudo-)differences."""
    p_value: float
    """Of no difference, by the same t distribution as the interval."""
    method: str


def estimate(paired: Paired, alpha: float) -> Estimate:
    """Student's t interval; needs two items or more."""
    values = paired.pseudo_values()
    method = "paired-t" if isinstance(paired, MeanDifference) else "jackknife-t"
    difference, deviation = paired.difference, spread(values)
    if deviation == 0.0:
        return Estimate(difference, difference, difference, paired.n, 0.0, float(difference == 0.0), method)
    error = deviation / paired.n**0.5
    reach = float(stats.t.ppf(1 - alpha / 2, paired.n - 1)) * error
    p_value = float(2 * stats.t.sf(abs(difference) / error, paired.n - 1))
    return Estimate(difference, difference - reach, difference + reach, paired.n, deviation, p_value, method)


def spread(values: Floats) -> float:
    """Sample standard deviation; exactly 0 where only rounding makes the values differ."""
    deviation = float(values.std(ddof=1))
    return 0.0 if deviation <= 1e-12 * max(1.0, float(np.abs(values).max())) else deviation


def bca_interval(paired: Paired, alpha: float, seed: int) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bootstrap over items (Efron 1987); None where the data leave it undefined."""
    batch = max(1, _CELLS // paired.n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(paired.n),),
            lambda indices, axis: paired.resampled(indices.astype(np.intp)),
            vectorized=True,
            axis=-1,
            n_resamples=RESAMPLES,
            batch=batch,
            confidence_level=1 - alpha,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def sign_flip(paired: Paired, seed: int) -> float:
    """Two-sided p of exchanging candidate and baseline within items (Fisher's randomisation test).

    A mean over items with up to 20 non-zero differences is enumerated exactly; else 10,000 draws, the observed
    assignment counted among them, so that p is never 0.
    """
    observed = abs(paired.difference)
    if isinstance(paired, MeanDifference):
        moving = paired.values[paired.values != 0.0]
        if len(moving) <= _EXACT_FLIPS:
            sums = _all_signed_sums(moving) / paired.n
            return float(np.mean(_reaches(sums, observed)))
    rng = np.random.default_rng(seed)
    reached, batch = 0, max(1, _CELLS // paired.n)
    for start in range(0, RESAMPLES, batch):
        rows = min(batch, RESAMPLES - start)
        swaps = rng.integers(0, 2, size=(rows, paired.n), dtype=np.int8).astype(bool)
        reached += int(_reaches(paired.swapped(swaps), observed).sum())
    return (reached + 1) / (RESAMPLES + 1)


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
    two_sided = stats.wilcoxon(differences, zero_method="pratt", method="auto")
    upward = stats.wilcoxon(differences, zero_method="pratt", alternative="greater", method="auto")
    direction = int(np.sign(0.5 - float(upward.pvalue)))
    return float(two_sided.pvalue), direction


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
    return EffectSize(d_z, d_z - reach, d_z + reach, d_z * (1 - 3 / (4 * (n - 1) - 1)), d_av)


def items_needed(deviation: float, distance: float, alpha: float, power: float = 0.8) -> int | None:
    """Items after which a difference this far from the boundary would be told from it with ``power``; None: never."""
    if distance == 0.0 or deviation == 0.0:
        return None
    quantiles = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return int(np.ceil((quantiles * deviation / distance) ** 2))


def false_discovery(p_values: list[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p values, in the order given."""
    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []
