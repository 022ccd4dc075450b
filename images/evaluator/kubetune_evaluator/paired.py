"""A candidate and a baseline measured on the same items, which may come in groups. Pure.

The unit of chance is the group: items on one document, in one conversation or with one prompt rise and fall together.
Without groups every item is one by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kubetune_contract import MetricName

from .corpus import Counts, formula

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """The group of each of ``n`` items, as a number from 0 on without gaps."""

    of: Indices

    @classmethod
    def alone(cls, n: int) -> Groups:
        return cls(np.arange(n))

    @classmethod
    def named(cls, names: Iterable[object]) -> Groups:
        """Items of one name are one group; the groups are numbered as they come."""
        numbers: dict[object, int] = {}
        return cls(np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp))

    @cached_property
    def sizes(self) -> Floats:
        return np.bincount(self.of).astype(np.float64)

    @property
    def count(self) -> int:
        return len(self.sizes)

    @property
    def are_items(self) -> bool:
        return self.count == len(self.of)

    def sums(self, values: Floats) -> Floats:
        """Of each group, over its items (first axis)."""
        if self.are_items:
            return values
        total = np.zeros((self.count, *values.shape[1:]))
        np.add.at(total, self.of, values)
        return total

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of a mean's CR2 standard error under independence (Bell and McCaffrey 2002).

        One less than there are groups where all are of one size, fewer where a few are larger than the rest.
        """
        sizes, n = self.sizes, float(len(self.of))
        if sizes.min() == sizes.max():
            return self.count - 1.0
        weight = sizes**2 / (1 - sizes / n)
        off_diagonal = (weight.sum() ** 2 - (weight**2).sum()) / n**2
        return float(n**2 / ((sizes**2).sum() + off_diagonal))


class Paired(Protocol):
    """A candidate and a baseline measured on the same items."""

    @property
    def groups(self) -> Groups: ...

    @property
    def bound(self) -> float:
        """The largest gain or loss that one item can bring."""
        ...

    @property
    def difference(self) -> float:
        """Candidate minus baseline over all items."""
        ...

    def deviations(self) -> Floats:
        """One value per group: their root mean square over the root of their number is the standard error of
        ``difference`` (with one less than their number where a mean is taken)."""
        ...

    def contributions(self, null: float) -> Floats:
        """One value per group; their sum is ``difference`` minus ``null``."""
        ...

    def resampled(self, indices: Indices) -> Floats:
        """``difference`` of the samples of groups along the last axis."""
        ...


@dataclass(frozen=True)
class MeanDifference:
    """A metric that is a mean over items; ``values`` are the items' differences."""

    values: Floats
    grouping: Groups | None = None
    bound: float = 1.0

    @cached_property
    def groups(self) -> Groups:
        return self.grouping or Groups.alone(len(self.values))

    @cached_property
    def difference(self) -> float:
        return float(self.values.mean())

    def deviations(self) -> Floats:
        """CR2 (Bell and McCaffrey 2002): sums of residuals, those of large groups made larger because the mean follows
        them."""
        groups, n = self.groups, len(self.values)
        residuals = self.values - self.difference
        if groups.are_items:
            return residuals
        share = groups.sizes / n
        count = groups.count
        return groups.sums(residuals) * (count / n) * ((count - 1) / count / (1 - share)) ** 0.5

    def contributions(self, null: float) -> Floats:
        return self.groups.sums(self.values - null) / len(self.values)

    def resampled(self, indices: Indices) -> Floats:
        totals, sizes = self.groups.sums(self.values), self.groups.sizes
        return np.asarray(totals[indices].sum(axis=-1) / sizes[indices].sum(axis=-1))


@dataclass(frozen=True)
class CorpusDifference:
    """A metric that is a function of counts summed over items (BLEU, chrF)."""

    metric: MetricName
    candidate: Counts
    baseline: Counts
    grouping: Groups | None = None
    bound: float = 100.0

    @cached_property
    def groups(self) -> Groups:
        return self.grouping or Groups.alone(len(self.candidate))

    @cached_property
    def difference(self) -> float:
        return float(self._scores(self.candidate.sum(axis=0), self.baseline.sum(axis=0)))

    def pseudo_values(self) -> Floats:
        """Jackknife over groups (Efron and Tibshirani 1993, chapter 11)."""
        ours, theirs = self.candidate.sum(axis=0), self.baseline.sum(axis=0)
        without = self._scores(ours - self.groups.sums(self.candidate), theirs - self.groups.sums(self.baseline))
        count = self.groups.count
        return np.asarray(count * self.difference - (count - 1) * without)

    def deviations(self) -> Floats:
        values = self.pseudo_values()
        return np.asarray(values - values.mean())

    def contributions(self, null: float) -> Floats:
        """Of the pseudo-values, moved so that they add up to the difference itself."""
        return (self.deviations() + self.difference - null) / self.groups.count

    def resampled(self, indices: Indices) -> Floats:
        weights = multiplicities(indices, self.groups.count)
        ours, theirs = (self.groups.sums(side) for side in (self.candidate, self.baseline))
        return self._scores(weights @ ours, weights @ theirs)

    def swapped(self, swaps: Flags) -> Floats:
        """``difference`` with candidate and baseline exchanged in the groups where a flag is set, for each row of
        flags."""
        ours, theirs = (self.groups.sums(side) for side in (self.candidate, self.baseline))
        moved = swaps @ (theirs - ours)
        return self._scores(ours.sum(axis=0) + moved, theirs.sum(axis=0) - moved)

    def _scores(self, candidate: Counts, baseline: Counts) -> Floats:
        score = formula(self.metric)
        return np.asarray(score(candidate) - score(baseline))


def multiplicities(indices: Indices, n: int) -> Floats:
    """How often each of ``n`` items occurs in each sample along the last axis: sums then are one matrix product."""
    samples = indices.reshape(-1, indices.shape[-1])
    shifted = samples + n * np.arange(len(samples))[:, None]
    found = np.bincount(shifted.ravel(), minlength=n * len(samples))
    return found.reshape(*indices.shape[:-1], n).astype(np.float64)
