"""The report: everything measured and everything needed to measure it again. Pure.

Its dataclasses are the schema of ``report.json`` (members in camelCase); ``kubetune_contract.from_json`` reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubetune_contract import EvalConfig, Gate, Generation, MetricName, MetricResult, Owner, Verdict

from .checks import Check
from .compare import Comparison
from .items import Item
from .statistics import EffectSize, false_discovery
from .verdict import Contest, Decision, decide

SCHEMA = 1
SCOPE = (
    "The intervals cover the choice of items, not the luck of training: they speak of these checkpoints, each the "
    "outcome of one run. Whether the recipe is better takes several runs with different seeds."
)


@dataclass(frozen=True)
class ModelReport:
    """One model as it was measured."""

    name: str
    uri: str
    content: str | None = None
    """What was in the folder: see kubetune_contract.Contents."""
    adapter_uri: str | None = None
    adapter_content: str | None = None
    trained_on: str | None = None
    """Digest of its training rows, where its manifest tells."""
    seen: int | None = None
    """Items whose prompts it was trained on; None where it brings no row keys."""
    answered: int = 0
    unfinished: int = 0
    """Answers cut at maxNewTokens or at the end of the context."""
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class DataReport:
    """The items and where they come from."""

    uri: str
    sha256: str
    rows: int
    duplicates: int
    items: int
    seed: int
    limit: int | None = None
    groups: int | None = None
    """Groups that the items come in: by the column ``group`` and by equal prompts."""


@dataclass(frozen=True)
class Settings:
    """How answers were made."""

    generation: Generation
    decoding: str
    device: str
    precision: str
    stops_at: str = "the model's end token, a stop string, maxNewTokens or the end of the context"


@dataclass(frozen=True)
class MetricReport:
    """One metric against one baseline. ``result`` is missing when fewer than two items were scored on both sides."""

    metric: MetricName
    baseline: str
    scored: int
    unscored: int
    result: MetricResult | None = None
    q_value: float | None = None
    """The p value adjusted over all metrics and baselines (Benjamini-Hochberg); the gate does not use it."""
    checks: tuple[Check, ...] = ()
    effect_size: EffectSize | None = None


@dataclass(frozen=True)
class Report:
    """``report.json``."""

    schema: int
    owner: Owner
    created_at: str
    """RFC 3339, UTC."""
    duration_seconds: float
    config_sha256: str
    models: tuple[ModelReport, ...]
    """The candidate first."""
    data: DataReport
    settings: Settings
    metrics: tuple[MetricReport, ...]
    libraries: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    """sacrebleu's description of BLEU and chrF."""
    gate: Gate | None = None
    verdict: Verdict | None = None
    verdict_message: str | None = None
    doubts: tuple[str, ...] = ()
    """Reasons to mistrust the measurement."""
    remarks: tuple[str, ...] = ()
    """What has to be known beside the verdict."""
    scope: str = SCOPE

    @property
    def results(self) -> tuple[MetricResult, ...]:
        """What could be measured."""
        return tuple(metric.result for metric in self.metrics if metric.result)


def metric_reports(comparisons: Sequence[Comparison]) -> tuple[MetricReport, ...]:
    """The comparisons with p values adjusted for their number."""
    tested = [c for c in comparisons if c.result and c.result.p_value is not None]
    p_values = [c.result.p_value for c in tested if c.result and c.result.p_value is not None]
    adjusted = dict(zip(map(id, tested), false_discovery(p_values), strict=True))
    return tuple(
        MetricReport(
            metric=c.metric,
            baseline=c.baseline,
            scored=c.scored,
            unscored=len(c.gains) - c.scored,
            result=c.result,
            q_value=adjusted.get(id(c)),
            checks=c.checks,
            effect_size=c.effect,
        )
        for c in comparisons
    )


def judged(config: EvalConfig, comparisons: Sequence[Comparison], doubts: Sequence[str]) -> Decision | None:
    """The gate's decision; None without a gate."""
    gate = config.gate
    if gate is None:
        return None
    contests = [Contest(c.baseline, c.estimate, c.checks, c.scored) for c in comparisons if c.metric is gate.metric]
    return decide(gate, contests, doubts)


def item_lines(
    items: Sequence[Item], answers: Mapping[str, Sequence[Any]], comparisons: Sequence[Comparison]
) -> list[dict[str, Any]]:
    """``items.jsonl``: each item with every model's answer and score, and the gains over the baselines.

    ``answers`` maps a model's name to its answers (objects with ``text`` and ``unfinished``, or None), candidate first.
    """
    candidate = next(iter(answers))
    lines = []
    for index, item in enumerate(items):
        scores: dict[str, dict[str, float | None]] = {}
        gains: dict[str, dict[str, float | None]] = {}
        for c in comparisons:
            by_model = scores.setdefault(str(c.metric), {})
            by_model[candidate] = c.candidate_scores[index]
            by_model[c.baseline] = c.baseline_scores[index]
            gains.setdefault(str(c.metric), {})[c.baseline] = c.gains[index]
        asked: dict[str, Any] = {"prompt": item.prompt}
        if item.messages is not None:
            asked = {"messages": list(item.messages)} | ({"tools": list(item.tools)} if item.tools else {})
        said = {name: _said(given[index]) for name, given in answers.items()}
        lines.append(
            {
                "id": item.id,
                "line": item.line,
                **asked,
                **({"group": item.group} if item.group is not None else {}),
                "reference": item.reference,
                "answers": said,
                "scores": scores,
                "gains": gains,
            }
        )
    return lines


def _said(answer: Any) -> dict[str, Any] | None:
    return None if answer is None else {"text": answer.text, "unfinished": answer.unfinished}
