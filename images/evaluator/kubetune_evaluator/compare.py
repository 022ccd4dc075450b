"""One metric of the candidate beside one baseline: values, estimate, checks and scores per item. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kubetune_contract import MetricName, MetricResult

from . import corpus, metrics, statistics
from .checks import Check, Design, checks_of
from .intervals import Estimate, estimate
from .metrics import Score, Text
from .paired import CorpusDifference, Floats, Groups, MeanDifference, Paired
from .statistics import EffectSize


@dataclass(frozen=True)
class Answers:
    """What both models gave for the same items; None where a model gave nothing."""

    references: Sequence[Text]
    candidate: Sequence[Text | None]
    baseline: Sequence[Text | None]
    groups: Sequence[object] | None = None
    """Of each item; None where each is one by itself."""


@dataclass(frozen=True)
class Comparison:
    """``result`` is None when fewer than two items, or groups, were scored on both sides."""

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


def compare(metric: MetricName, baseline: str, answers: Answers, design: Design) -> Comparison:
    """Scores both sides and estimates the difference over the items that both sides have scored."""
    scores = tuple(metrics.score(metric, answers.references, side) for side in (answers.candidate, answers.baseline))
    kept = [i for i, pair in enumerate(zip(*scores, strict=True)) if None not in pair]
    ours, theirs = (_merits(metric, side, kept) for side in scores)
    gains: list[Score] = [None] * len(answers.references)
    for index, gain in zip(kept, ours - theirs, strict=True):
        gains[index] = float(gain)
    bare = Comparison(metric, baseline, tuple(scores[0]), tuple(scores[1]), tuple(gains), len(kept))
    groups = Groups.named([answers.groups[i] for i in kept]) if answers.groups else Groups.alone(len(kept))
    if len(kept) < 2 or groups.count < 2:
        return bare
    paired, values = _pair(metric, answers, kept, scores, groups)
    found = estimate(paired, design.alpha, binary=metric in metrics.BINARY_METRICS)
    return replace(
        bare,
        result=_result(metric, baseline, values, found, unscored=len(gains) - len(kept)),
        estimate=found,
        checks=checks_of(paired, found, design),
        effect=None if metric in metrics.CORPUS_METRICS else statistics.effect_size(ours, theirs, design.alpha),
    )


def _merits(metric: MetricName, scores: Sequence[Score], kept: Sequence[int]) -> Floats:
    """Scores of the kept items on a scale where more is better."""
    values = np.array([scores[i] for i in kept], dtype=np.float64)
    if metric is MetricName.LENGTH_RATIO:
        return np.array([metrics.closeness(value) for value in values], dtype=np.float64)
    return values


def _pair(
    metric: MetricName, answers: Answers, kept: Sequence[int], scores: Sequence[Sequence[Score]], groups: Groups
) -> tuple[Paired, tuple[float, float]]:
    """The paired sample and the reported values of candidate and baseline."""
    if metric in metrics.CORPUS_METRICS:
        return _corpus_pair(metric, answers, kept, groups)
    ours, theirs = (_merits(metric, side, kept) for side in scores)
    sample = MeanDifference(ours - theirs, groups)
    if metric is MetricName.LENGTH_RATIO:
        ratios = [np.array([side[i] for i in kept], dtype=np.float64) for side in scores]
        return sample, (float(np.median(ratios[0])), float(np.median(ratios[1])))
    return sample, (float(ours.mean()), float(theirs.mean()))


def _corpus_pair(
    metric: MetricName, answers: Answers, kept: Sequence[int], groups: Groups
) -> tuple[CorpusDifference, tuple[float, float]]:
    references = [answers.references[i].text for i in kept]
    ours, theirs = (
        corpus.counts(metric, references, [text.text for i in kept if (text := side[i]) is not None])
        for side in (answers.candidate, answers.baseline)
    )
    score = corpus.formula(metric)
    values = float(score(ours.sum(axis=0))), float(score(theirs.sum(axis=0)))
    return CorpusDifference(metric, ours, theirs, groups), values


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
