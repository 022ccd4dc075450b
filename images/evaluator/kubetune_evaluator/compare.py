"""One metric of the candidate beside one baseline: values, estimate, checks and scores per item. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kubetune_contract import MetricName, MetricResult

from . import corpus, metrics, statistics
from .metrics import Score, Text
from .statistics import CorpusDifference, EffectSize, Estimate, Floats, MeanDifference, Paired
from .verdict import Check

CHECKED_BY_BOOTSTRAP = 50
"""From this many items on a bootstrap covers well enough to be a check (research: 96 to 97 % at 75 items)."""


@dataclass(frozen=True)
class Comparison:
    """``result`` is None when fewer than two items were scored on both sides."""

    metric: MetricName
    baseline: str
    candidate_scores: tuple[Score, ...]
    baseline_scores: tuple[Score, ...]
    gains: tuple[Score, ...]
    """Per item, positive where the candidate is better; None where the pair is unscored."""
    scored: int
    result: MetricResult | None = None
    estimate: Estimate | None = None
    checks: tuple[Check, ...] = ()
    effect: EffectSize | None = None


def compare(
    metric: MetricName,
    baseline_name: str,
    references: Sequence[Text],
    candidate: Sequence[Text | None],
    baseline: Sequence[Text | None],
    *,
    alpha: float,
    seed: int,
) -> Comparison:
    """Scores both sides and estimates the difference over the items that both sides have scored."""
    ours = metrics.score(metric, references, candidate)
    theirs = metrics.score(metric, references, baseline)
    kept = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a is not None and b is not None]
    gains: list[Score] = [None] * len(references)
    ours_scored, theirs_scored = _merits(metric, ours, kept), _merits(metric, theirs, kept)
    for index, gain in zip(kept, ours_scored - theirs_scored, strict=True):
        gains[index] = float(gain)
    bare = Comparison(metric, baseline_name, tuple(ours), tuple(theirs), tuple(gains), len(kept))
    if len(kept) < 2:
        return bare
    paired, values = _pair(metric, references, candidate, baseline, kept, (ours, theirs))
    found = statistics.estimate(paired, alpha)
    return Comparison(
        metric,
        baseline_name,
        bare.candidate_scores,
        bare.baseline_scores,
        bare.gains,
        bare.scored,
        result=_result(metric, baseline_name, values, found, unscored=len(references) - len(kept)),
        estimate=found,
        checks=_checks(metric, paired, alpha, seed),
        effect=None
        if metric in metrics.CORPUS_METRICS
        else statistics.effect_size(ours_scored, theirs_scored, alpha),
    )


def _merits(metric: MetricName, scores: Sequence[Score], kept: Sequence[int]) -> Floats:
    """Scores of the kept items on a scale where more is better."""
    values = np.array([scores[i] for i in kept], dtype=np.float64)
    if metric is MetricName.LENGTH_RATIO:
        return np.array([metrics.closeness(value) for value in values], dtype=np.float64)
    return values


def _pair(
    metric: MetricName,
    references: Sequence[Text],
    candidate: Sequence[Text | None],
    baseline: Sequence[Text | None],
    kept: Sequence[int],
    scores: tuple[Sequence[Score], Sequence[Score]],
) -> tuple[Paired, tuple[float, float]]:
    """The paired sample and the reported values of candidate and baseline."""
    if metric in metrics.CORPUS_METRICS:
        expected = [references[i].text for i in kept]
        ours, theirs = (
            corpus.counts(metric, expected, [answer.text for i in kept if (answer := side[i]) is not None])
            for side in (candidate, baseline)
        )
        score = corpus.formula(metric)
        return CorpusDifference(metric, ours, theirs), (float(score(ours.sum(axis=0))), float(score(theirs.sum(axis=0))))
    merits = [_merits(metric, side, kept) for side in scores]
    sample = MeanDifference(merits[0] - merits[1])
    if metric is MetricName.LENGTH_RATIO:
        medians = [float(np.median([side[i] for i in kept if side[i] is not None])) for side in scores]
        return sample, (medians[0], medians[1])
    return sample, (float(merits[0].mean()), float(merits[1].mean()))


def _checks(metric: MetricName, paired: Paired, alpha: float, seed: int) -> tuple[Check, ...]:
    direction = int(np.sign(paired.difference))
    checks: list[Check] = []
    if metric in metrics.BINARY_METRICS and isinstance(paired, MeanDifference):
        # The same null hypothesis as flipping signs, without drawing at random.
        checks.append(Check("mcnemar-exact", p_value=statistics.mcnemar(paired.values), direction=direction))
    else:
        checks.append(Check("sign-flip", p_value=statistics.sign_flip(paired, seed), direction=direction))
    varied = statistics.spread(paired.pseudo_values()) > 0.0
    if paired.n >= CHECKED_BY_BOOTSTRAP and varied and (ends := statistics.bca_interval(paired, alpha, seed)):
        checks.append(Check("bca-bootstrap", low=ends[0], high=ends[1], direction=direction))
    if isinstance(paired, MeanDifference):
        p_value, shift = statistics.wilcoxon(paired.values)
        checks.append(Check("wilcoxon-pratt", p_value=p_value, direction=shift, advisory=True))
    return tuple(checks)


def _result(
    metric: MetricName, baseline: str, values: tuple[float, float], found: Estimate, unscored: int
) -> MetricResult:
    return MetricResult(
        metric=metric,
        baseline=baseline,
        candidate_value=values[0],
        baseline_value=values[1],
        difference=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        unscored=unscored,
        method=found.method,
        p_value=found.p_value,
    )
