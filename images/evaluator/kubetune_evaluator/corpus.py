"""Corpus BLEU and chrF from counts per item, so that thousands of resampled corpora cost one matrix product.

Both metrics are functions of counts summed over items. sacrebleu makes the counts; the two formulas are its own
(version 2.6, defaults), written for arrays of sums, and a test holds them equal to ``corpus_score``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from kubetune_contract import MetricName

Counts = npt.NDArray[np.float64]
"""One row per item, or one row of sums per resampled corpus."""

BLEU_ORDER = 4


def counts(metric: MetricName, references: Sequence[str], answers: Sequence[str]) -> Counts:
    """Per item: BLEU's matches and totals by order and both lengths; chrF's answer, reference and match by order."""
    extract = _bleu_counts if metric is MetricName.BLEU else _chrf_counts
    return np.array(extract(references, answers), dtype=np.float64)


def formula(metric: MetricName) -> Callable[[Counts], Counts]:
    """Sums of counts (last axis) -> scores from 0 to 100."""
    return bleu if metric is MetricName.BLEU else chrf


def signature(metric: MetricName) -> str:
    """sacrebleu's own description of the settings, to be reported beside the value."""
    scorer: Any = BLEU() if metric is MetricName.BLEU else CHRF()
    scorer.corpus_score(["a"], [["a"]])
    return str(scorer.get_signature())


def _bleu_counts(references: Sequence[str], answers: Sequence[str]) -> list[list[float]]:
    scorer = BLEU(effective_order=True)
    scores = (scorer.sentence_score(a, [r]) for r, a in zip(references, answers, strict=True))
    return [[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores]


def _chrf_counts(references: Sequence[str], answers: Sequence[str]) -> list[list[float]]:
    # The only access sacrebleu gives to chrF's counts; its own significance test takes the same way.
    statistics: list[list[float]] = CHRF()._extract_corpus_statistics(answers, [references])
    return statistics


def bleu(sums: Counts) -> Counts:
    """Papineni et al. 2002 with exponential smoothing (Chen and Cherry 2014, method 3)."""
    matches, totals = sums[..., :BLEU_ORDER], sums[..., BLEU_ORDER : 2 * BLEU_ORDER]
    length, reference_length = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        halvings = np.cumsum((matches == 0) & (totals > 0), axis=-1)
        precisions = np.where(matches > 0, matches, 0.5**halvings) / totals
        brevity = np.exp(np.minimum(0.0, 1.0 - reference_length / length))
        scores = 100.0 * brevity * np.exp(np.log(precisions).mean(axis=-1))
    defined = (totals > 0).all(axis=-1) & (matches > 0).any(axis=-1)
    return np.where(defined, scores, 0.0)


def chrf(sums: Counts) -> Counts:
    """Popović 2015: F2 of the mean precision and recall over character 1- to 6-grams that both sides have."""
    given, expected, matches = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (given > 0) & (expected > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted, matches / given, 0.0).sum(axis=-1) / orders
        recall = np.where(counted, matches / expected, 0.0).sum(axis=-1) / orders
        scores = 100.0 * 5.0 * precision * recall / (4.0 * precision + recall)
    return np.where(precision + recall > 0, scores, 0.0)
