"""Differences as people have them, drawn at random: what the gate's error rates and power are simulated on.

Each family draws the items' differences (candidate minus baseline) of many evaluations at once, as an array of
evaluations times items, with the true mean it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
CLUSTER = 5


@dataclass(frozen=True)
class Family:
    """``draw(rng, evaluations, items)``; items come in groups of ``cluster`` that stand together."""

    name: str
    mean: float
    draw: Draw
    binary: bool = False
    cluster: int = 1


def paired_binary(gained: float, lost: float) -> Draw:
    """Shares of items that only the candidate, and only the baseline, gets right."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> Floats:
        uniform = rng.random((runs, n))
        return np.where(uniform < gained, 1.0, np.where(uniform < gained + lost, -1.0, 0.0))

    return draw


def f1_like(gain: float) -> Draw:
    """Both score an item's own level and some noise, cut to 0..1; ``gain`` is the candidate's before the cut."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> Floats:
        level = rng.normal(0.6, 0.25, (runs, n))
        ours, theirs = (level + shift + rng.normal(0, 0.2, (runs, n)) for shift in (gain, 0.0))
        return np.clip(ours, 0, 1) - np.clip(theirs, 0, 1)

    return draw


@cache
def f1_mean(gain: float) -> float:
    """Of ``f1_like``, exactly: a clipped normal's mean."""
    scale = (0.25**2 + 0.2**2) ** 0.5

    def clipped(centre: float) -> float:
        low, high = -centre / scale, (1 - centre) / scale
        inside = centre * (stats.norm.cdf(high) - stats.norm.cdf(low))
        return float(inside + scale * (stats.norm.pdf(low) - stats.norm.pdf(high)) + stats.norm.sf(high))

    return clipped(0.6 + gain) - clipped(0.6)


def ceiling(upward: float) -> Draw:
    """Nine items of ten tie; of the others this share is better, by anything from 0 to 1."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> Floats:
        sign = np.where(rng.random((runs, n)) < upward, 1.0, -1.0)
        return np.where(rng.random((runs, n)) < 0.1, sign * rng.random((runs, n)), 0.0)

    return draw


def exponential(side: int) -> Draw:
    """Mean 0 and deviation 1, with the long tail on this side: wider than a metric from 0 to 1 allows, so that no bound
    helps. See ``docs/evaluation.md``."""
    return lambda rng, runs, n: side * (rng.exponential(1.0, (runs, n)) - 1.0)


def catastrophe(share: float) -> Draw:
    """A little better on most items, nearly all lost on this share; mean 0."""
    return lambda rng, runs, n: np.where(rng.random((runs, n)) < share, share - 1.0, share)


def clustered(correlation: float) -> Draw:
    """Groups of five with this correlation within; a deviation of 0.3."""

    def draw(rng: np.random.Generator, runs: int, n: int) -> Floats:
        common = np.repeat(rng.normal(0, correlation**0.5, (runs, n // CLUSTER)), CLUSTER, axis=1)
        return 0.3 * (common + rng.normal(0, (1 - correlation) ** 0.5, (runs, n)))

    return draw


def moved(draw: Draw, by: float) -> Draw:
    return lambda rng, runs, n: draw(rng, runs, n) + by


def mirrored(draw: Draw) -> Draw:
    return lambda rng, runs, n: -draw(rng, runs, n)


def at(mean: float) -> tuple[Family, ...]:
    """Every family with the true mean ``mean``: 0, or a margin to be reached."""

    def binary(share: float) -> Family:
        name = f"binary, {100 * share:.0f} % / {100 * share:.0f} % discordant"
        return Family(name, mean, paired_binary(share + mean, share), binary=True)

    gain = _gain_of(mean)
    return (
        binary(0.10),
        binary(0.30),
        binary(0.02),
        Family("F1-like, clipped to [0, 1]", mean, f1_like(gain)),
        Family("ceiling, 90 % ties", mean, ceiling(0.5 + 10 * mean)),
        Family("skewed right (exponential)", mean, moved(exponential(1), mean)),
        Family("skewed left (exponential)", mean, moved(exponential(-1), mean)),
        Family("A: +.05 on 95 %, -.95 on 5 %", mean, moved(catastrophe(0.05), mean)),
        Family("A mirrored: -.05 on 95 %, +.95 on 5 %", mean, moved(mirrored(catastrophe(0.05)), mean)),
        Family("clusters of 5, ICC .5", mean, moved(clustered(0.5), mean), cluster=CLUSTER),
        Family("clusters of 5, ICC .9", mean, moved(clustered(0.9), mean), cluster=CLUSTER),
    )


@cache
def _gain_of(mean: float) -> float:
    """The gain before the cut whose mean after it is ``mean``."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f1_mean(middle) < mean else (low, middle)
    return (low + high) / 2


def better() -> tuple[Family, ...]:
    """True gains, to tell the power."""
    return (
        Family("binary .20 / .10", 0.10, paired_binary(0.20, 0.10), binary=True),
        Family("binary .24 / .08", 0.16, paired_binary(0.24, 0.08), binary=True),
        Family("binary .45 / .05", 0.40, paired_binary(0.45, 0.05), binary=True),
        Family("binary .08 / .01", 0.07, paired_binary(0.08, 0.01), binary=True),
        *(Family(f"F1-like, gain {f1_mean(g):.3f}", f1_mean(g), f1_like(g)) for g in (0.02, 0.05, 0.1, 0.24)),
        Family("ceiling, 90 % ties, gain .03", 0.03, ceiling(0.8)),
        Family("small and steady: .03, deviation .10", 0.03, lambda rng, runs, n: rng.normal(0.03, 0.1, (runs, n))),
        Family("clusters of 5, ICC .5, gain .2", 0.2, moved(clustered(0.5), 0.2), cluster=CLUSTER),
    )
