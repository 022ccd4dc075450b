"""Contract of the evaluator."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .types import Artifact, Contents, Dataset, ModelRef, ObjectStore, Owner


class MetricName(enum.StrEnum):
    """What can be measured per item; definitions in docs/evaluation.md."""

    EXACT_MATCH = "exactMatch"
    TOKEN_F1 = "tokenF1"
    ROUGE_L = "rougeL"
    CHRF = "chrF"
    BLEU = "bleu"
    LENGTH_RATIO = "lengthRatio"


class Verdict(enum.StrEnum):
    """Outcome of the gate."""

    GO = "Go"
    NO_GO = "NoGo"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Generation:
    """Greedy decoding; only its bounds can be set."""

    max_new_tokens: int = 128
    batch_size: int = 8
    stop: tuple[str, ...] = ()


class GateRule(enum.StrEnum):
    """What a Go asks of the interval of candidate minus baseline."""

    GAIN = "gain"
    """It lies above 0, and the estimate is the margin or more."""
    SUPERIOR = "superior"
    """It lies above the margin."""


@dataclass(frozen=True)
class Gate:
    """When the verdict is Go: what ``rule`` says, of candidate minus baseline on ``metric``."""

    metric: MetricName
    margin: float = 0.0
    """In the metric's own unit (a share for exactMatch; points of 100 for chrF and bleu)."""
    alpha: float = 0.05
    rule: GateRule = GateRule.GAIN


@dataclass(frozen=True)
class EvalConfig:
    """Everything the evaluator needs to know, without secrets."""

    schema: int
    owner: Owner
    candidate: ModelRef
    baselines: tuple[ModelRef, ...]
    dataset: Dataset
    metrics: tuple[MetricName, ...]
    output: str
    store: ObjectStore
    generation: Generation = field(default_factory=Generation)
    gate: Gate | None = None
    limit: int | None = None
    seed: int = 42
    gpus: int = 0


@dataclass(frozen=True)
class MetricResult:
    """One metric of the candidate beside one baseline over the same items."""

    metric: MetricName
    baseline: str
    candidate_value: float
    baseline_value: float
    difference: float
    """Candidate minus baseline; for lengthRatio the gain in closeness to 1, so that more is better everywhere."""
    low: float
    high: float
    """Ends of the two-sided 1 - alpha interval of the difference."""
    n: int
    unscored: int
    method: str
    """How the interval was made, for example ``skew-t`` or ``exact-pair``."""
    p_value: float | None = None


@dataclass(frozen=True)
class EvalSummary:
    """The evaluator's termination message on success."""

    schema: int
    results: tuple[MetricResult, ...]
    report: Artifact
    n: int
    duration_seconds: float
    verdict: Verdict | None = None
    """None when no gate was set."""
    verdict_message: str | None = None
    dataset_sha256: str | None = None
    candidate: Contents | None = None
    """What the candidate's folders held when it was measured."""
    groups: int | None = None
    """Groups that the items come in; None where each is one by itself."""


@dataclass(frozen=True)
class EvalProgress:
    """Answer of ``GET /progress``; ``done`` counts generated items over all models."""

    phase: str
    done: int
    total: int
    updated_at: float
    model: str | None = None
