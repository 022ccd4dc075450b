"""What an Evaluation measures and when it says Go, as an Evaluation and a FineTuneJob's own template write it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_contract.evaluate import GateRule, MetricName

from .dataset import EvaluationDataset
from .model import ApiModel, Rule
from .pod_options import Resources

StopText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Generation(ApiModel):
    """Bounds of the answers; decoding is greedy, so that a run can be repeated."""

    max_new_tokens: int = Field(default=128, ge=1, le=32_768)
    """Most tokens of one answer."""
    batch_size: int = Field(default=8, ge=1, le=1024)
    """Items generated at once; lower it when memory does not suffice. It does not change the answers' meaning, only the
    speed."""
    stop: tuple[StopText, ...] = Field(
        default=(), max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Texts that end an answer; they are not part of it."""


POINTS = (MetricName.CHRF, MetricName.BLEU)
"""Metrics that go from 0 to 100; the others go from 0 to 1."""


class Gate(ApiModel):
    """When the verdict is Go: what `rule` says of the interval of candidate minus baseline, against every baseline.
    NoGo when the candidate is shown not to reach `margin`, Inconclusive when the items do not suffice to tell."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metric in {[str(metric) for metric in POINTS]!r} || self.margin <= 1.0",
            "the metric goes from 0 to 1, so margin is a share: 0.05 for five points of 100",
            "margin",
        ),
    )

    metric: MetricName
    """The metric that decides; must be one of `metrics`."""
    margin: float = Field(default=0.0, ge=0, le=100)
    """Least gain that counts, in the metric's own unit: points of 100 for chrF and bleu, a share (0 to 1) for all
    others."""
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    """Two-sided level of the test: the interval has the level 1 - alpha, a false Go the chance alpha / 2."""
    rule: GateRule = GateRule.GAIN
    """`gain`: Go when the interval lies above 0 and the estimate is `margin` or more. `superior`: Go when the whole
    interval lies above `margin`, which takes more items. NoGo is the same for both."""


class Measurement(ApiModel):
    """What is measured, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.gate) || self.gate.metric in self.metrics",
            "gate.metric must be one of metrics; add it there, otherwise it is not measured",
            "gate",
        ),
    )

    dataset: EvaluationDataset
    """Items to answer: each has a question (prompt, messages or instruction) and the expected answer. Keep them apart
    from the training data, or the result means nothing."""
    metrics: tuple[MetricName, ...] = Field(
        default=(MetricName.EXACT_MATCH,),
        min_length=1,
        max_length=len(MetricName),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    """What is computed for each item: exactMatch, tokenF1, rougeL, chrF, bleu, lengthRatio. The first one (or the
    gate's) is shown by `kubectl get`."""
    generation: Generation = Generation()
    """Bounds of the answers."""
    limit: int | None = Field(default=None, ge=1, le=10_000_000)
    """Use at most this many items, drawn with `seed`. Unset: all."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of the drawing of items and of the bootstrap."""
    gate: Gate | None = None
    """Turns the measurement into a verdict. Unset: values only, no verdict."""


class EvaluationTemplate(Measurement):
    """An Evaluation to create once a FineTuneJob has succeeded; its candidate is that job and its baseline that job's
    base model."""

    resources: Resources | None = None
    """What the evaluation's pod asks of its node. Unset: the same as the job's."""
