"""The Evaluation resource: a candidate and its baselines measured on the same items, ending in a verdict."""

from __future__ import annotations

import enum
from typing import ClassVar

from pydantic import Field

from kubetune.common.job_status import JobStatus
from kubetune.common.measurement import Measurement
from kubetune.common.meta import AGE, Column, KindInfo, Resource
from kubetune.common.model import ApiModel, Rule, Timestamp, checked
from kubetune.common.model_source import ModelChoice
from kubetune.common.pod_options import JobOptions
from kubetune.common.syntax import same_folder
from kubetune_contract.evaluate import MetricName, Verdict


class Reason(enum.StrEnum):
    """Reasons of an Evaluation's conditions; a failure may also carry a reason of the evaluator's own."""

    FINE_TUNE_JOB_NOT_FOUND = "FineTuneJobNotFound"
    FINE_TUNE_JOB_NOT_FINISHED = "FineTuneJobNotFinished"
    FINE_TUNE_JOB_FAILED = "FineTuneJobFailed"


class Baseline(ModelChoice):
    """A model to compare with."""

    name: str = Field(
        min_length=1,
        max_length=63,
        json_schema_extra=checked(
            Rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'candidate'",
                "must have only lower-case letters, digits and '-', and must not be 'candidate'",
            )
        ),
    )
    """Its name in the results, for example `base`."""


class Comparison(ApiModel):
    """Which models are measured."""

    candidate: ModelChoice
    """The model to judge."""
    baselines: tuple[Baseline, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Models to compare with. Unset, with a `candidate.fineTuneJobRef`: that job's base model, named `base`."""


_SAME_MODEL = (
    "has(base.fineTuneJobRef) == has(self.candidate.fineTuneJobRef) && "
    "(has(base.fineTuneJobRef) ? base.fineTuneJobRef.name == self.candidate.fineTuneJobRef.name : "
    f"({same_folder('base.uri', 'self.candidate.uri')}) && has(base.adapterUri) == has(self.candidate.adapterUri) && "
    f"(!has(base.adapterUri) || {same_folder('base.adapterUri', 'self.candidate.adapterUri')}))"
)


class EvaluationSpec(JobOptions, Measurement, Comparison):
    """What to measure."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.candidate.fineTuneJobRef) || has(self.baselines)",
            "a candidate given by uri needs baselines to be compared with",
            "candidate",
        ),
        Rule(
            f"!has(self.baselines) || !self.baselines.exists(base, {_SAME_MODEL})",
            "spec.baselines names the model that spec.candidate is: nothing could be measured; take another baseline, "
            "or leave baselines out to compare a fineTuneJobRef with its base model",
            "baselines",
            once=True,
        ),
    )


class MetricResult(ApiModel):
    """One metric of the candidate beside one baseline, over the same items."""

    metric: MetricName
    """The metric."""
    baseline: str = Field(max_length=63)
    """Name of the baseline."""
    candidate_value: float
    """The candidate's mean over the items (the corpus value for bleu and chrF)."""
    baseline_value: float
    """The baseline's."""
    difference: float
    """Candidate minus baseline."""
    low: float
    """Lower end of the difference's interval."""
    high: float
    """Upper end of the difference's interval."""
    n: int
    """Items both models were scored on."""
    unscored: int
    """Items left out because they could not be scored."""
    method: str = Field(max_length=64)
    """How the interval was made, for example `skew-t` or `exact-pair`."""
    p_value: float | None = None
    """Two-sided p-value of no difference."""


class Report(ApiModel):
    """The full report in the object store."""

    uri: str = Field(max_length=2048)
    """Folder with report.json, report.html and items.jsonl."""
    manifest_sha256: str | None = Field(default=None, alias="manifestSHA256", max_length=64)
    """SHA-256 of the folder's manifest.json."""


class MeasuredModel(ApiModel):
    """What was really measured as the candidate."""

    uri: str = Field(max_length=2048)
    """The model."""
    adapter_uri: str | None = Field(default=None, max_length=2048)
    """The adapter on top of it."""
    content: str | None = Field(default=None, max_length=128)
    """What the model's folder held: `manifest:` and the SHA-256 of its manifest, `files:` and one over its files where
    it has no manifest, or `commit:` and the hub's commit. A gate admits this and nothing else."""
    adapter_content: str | None = Field(default=None, max_length=128)
    """The same of the adapter's folder."""


class EvaluationProgress(ApiModel):
    """How far the generations are."""

    done: int = Field(ge=0)
    """Items answered, over all models."""
    total: int = Field(ge=0)
    """Items to answer, over all models."""
    model: str | None = Field(default=None, max_length=253)
    """The model at work."""
    display: str | None = Field(default=None, max_length=64)
    """For example `62% 310/500`."""
    updated_at: Timestamp | None = None
    """When the evaluator said so."""


class EvaluationStatus(JobStatus):
    """What was measured."""

    progress: EvaluationProgress | None = None
    """How far the generations are, while it runs."""
    verdict: Verdict | None = None
    """Go, NoGo or Inconclusive; unset without a gate or before the end."""
    verdict_message: str | None = Field(default=None, max_length=4096)
    """Why, in one sentence."""
    n: int | None = Field(default=None, ge=0)
    """Items measured."""
    groups: int | None = Field(default=None, ge=0)
    """Groups that the items come in, by the column `group` and by equal prompts; unset where each is one by itself."""
    primary_metric: MetricName | None = None
    """The gate's metric, or the first one."""
    delta: str | None = Field(default=None, max_length=128)
    """Difference on the primary metric with its interval, for example `+0.41 [0.34, 0.48]`."""
    metrics: tuple[MetricResult, ...] | None = Field(
        default=None, max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Every metric against every baseline."""
    report: Report | None = None
    """The full report."""
    candidate: MeasuredModel | None = None
    """What was really measured as the candidate."""
    dataset_sha256: str | None = Field(default=None, alias="datasetSHA256", max_length=64)
    """SHA-256 over the rows that were read."""


class Evaluation(Resource):
    """A measured comparison of a model with its baselines on the same items, ending in a verdict: Go, NoGo or
    Inconclusive."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Evaluation",
        plural="evaluations",
        short="evl",
        columns=(
            Column("Phase", ".status.phase"),
            Column("Verdict", ".status.verdict"),
            Column("Metric", ".status.primaryMetric"),
            Column("Delta", ".status.delta"),
            Column("Reason", '.status.conditions[?(@.type=="Succeeded")].reason'),
            Column("Items", ".status.n", "integer", wide=True),
            Column("Progress", ".status.progress.display", wide=True),
            Column("Attempts", ".status.attempts", "integer", wide=True),
            AGE,
        ),
    )

    spec: EvaluationSpec
    """What to measure. Nothing but `suspend` can be changed after creation."""
    status: EvaluationStatus = EvaluationStatus()
    """What was measured."""
