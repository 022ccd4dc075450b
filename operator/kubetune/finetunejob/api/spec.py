"""What a user writes into a FineTuneJob."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from pydantic import Field

from kubetune.common.dataset import TrainingDataset
from kubetune.common.measurement import EvaluationTemplate
from kubetune.common.model import ApiModel, Rule, checked
from kubetune.common.model_source import OBJECT_NAME_RULE, BaseModelSource, ObjectName
from kubetune.common.pod_options import JobOptions, Resources
from kubetune.common.syntax import NOT_BLANK_RULE, SEEN_RULE, same_folder
from kubetune.common.uris import HttpUri
from kubetune_contract.train import Method

from .hyperparameters import Hyperparameters, Lora

QueueName = Annotated[str, Field(min_length=1, max_length=63, json_schema_extra=checked(OBJECT_NAME_RULE))]
"""Name of a Kueue LocalQueue; it becomes a label's value."""


class Preset(enum.StrEnum):
    """Names of presets; their values and reasons are in the module ``presets``."""

    SUPPORT = "support"
    TECHNICAL_QA = "technicalQA"
    CODE = "code"


class FitPolicy(enum.StrEnum):
    """What the verdict about memory decides."""

    REQUIRE = "Require"
    WARN = "Warn"
    SKIP = "Skip"


class OutOfMemoryPolicy(enum.StrEnum):
    """What happens when the GPU's memory does not suffice."""

    ADAPT = "Adapt"
    FAIL = "Fail"


class GgufType(enum.StrEnum):
    """Numbers of a GGUF file, in llama.cpp's words."""

    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"


class Tracking(ApiModel):
    """The MLflow server that records the run."""

    uri: HttpUri | None = None
    """Tracking server, for example `http://mlflow:5000`. Unset: the operator's default."""
    secret: ObjectName | None = None
    """Secret of this namespace by which the server lets the pods in, with `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD`, or with `MLFLOW_TRACKING_TOKEN`. Unset: none, or for the operator's default server the
    operator's default name."""
    experiment: str | None = Field(
        default=None, min_length=1, max_length=250, json_schema_extra=checked(SEEN_RULE, NOT_BLANK_RULE)
    )
    """Experiment of the run. Unset: the namespace's name."""
    registered_model: str | None = Field(
        default=None,
        min_length=1,
        max_length=250,
        json_schema_extra=checked(
            Rule("!self.matches('[/:]')", "MLflow allows neither '/' nor ':' in the name of a registered model"),
            SEEN_RULE,
            NOT_BLANK_RULE,
        ),
    )
    """Name in MLflow's model registry under which the result becomes a new version. Unset: `<namespace>.<name>` of this
    object."""


class Preflight(ApiModel):
    """What is checked on the CPU before a GPU is taken: every row of the data, model, tokenizer, access, and whether
    the run fits the GPU's memory."""

    fit: FitPolicy = FitPolicy.REQUIRE
    """What the estimate of memory decides. `Require` fails the job when it does not fit, naming the nearest setting
    that does; `Warn` says so and trains; `Skip` starts no preflight pod at all: the training checks its inputs itself,
    with the GPU already taken."""


class Divergence(ApiModel):
    """When a run is lost, and what happens then."""

    loss_sigmas: float = Field(default=8.0, ge=0, le=1000)
    """Standard deviations above its running mean at which a loss is bad; 0 takes only what is not a number."""
    patience: int = Field(default=3, ge=1, le=1000)
    """Bad losses or gradients in a row after which the run is stopped; the last good checkpoint is kept."""
    rollback: bool = False
    """Goes back to the last good checkpoint once, at half the learning rate, in place of stopping."""


class Recovery(ApiModel):
    """What the trainer may do by itself when a run goes wrong; status.recovery tells what it did."""

    out_of_memory: OutOfMemoryPolicy = OutOfMemoryPolicy.ADAPT
    """`Adapt` halves the batch and doubles gradientAccumulationSteps (the effective batch stays), then turns on
    gradientCheckpointing, then takes an 8-bit optimizer, and only then fails; `Fail` fails at once."""
    divergence: Divergence = Divergence()
    """When a run is lost, and what happens then."""


class Export(ApiModel):
    """What is published beside the result itself; status.exports tells where."""

    merged: bool = False
    """Base and adapter as one model, which every server can load. Needs disk for a second copy of the base."""
    gguf: GgufType | None = None
    """A GGUF file with an Ollama Modelfile, for llama.cpp and Ollama: `q8_0` is half the size of `f16` and `bf16` at
    nearly the same quality. Unset: none."""


class Training(ApiModel):
    """What is trained on what."""

    base_model: BaseModelSource
    """The model to start from."""
    dataset: TrainingDataset
    """The rows to learn."""
    method: Method = Method.LORA
    """`lora` trains a small adapter; `qlora` the same over a base in 4 bits (least memory); `full` changes every
    weight."""
    preset: Preset | None = None
    """Values that suit a purpose, for whatever `lora` and `hyperparameters` leave out: `support` (dialogues, tone),
    `technicalQA` (facts and longer answers), `code` (long rows). What is written there always wins;
    status.effective shows the outcome."""
    lora: Lora | None = None
    """Size and place of the adapter; for methods lora and qlora."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How it is trained."""


class TrainingResources(Resources):
    """What the training's pod asks of its node."""

    gpu: int = Field(default=0, ge=0, le=8)
    """Number of GPUs, all of one node; each trains on its share of every batch. 0 trains on the CPU."""


class FineTuneJobSpec(JobOptions, Training):
    """What to train."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.method != 'full' || !has(self.lora)",
            "method full trains every weight and has no adapter; remove lora, or use method lora or qlora",
            "lora",
        ),
        Rule(
            "self.method != 'full' || !has(self.export) || !self.export.merged",
            "method full publishes a whole model anyway; remove export.merged, or use method lora or qlora",
            "export",
        ),
        Rule(
            "!has(self.hyperparameters.evalSteps) || "
            "has(self.dataset.validationUri) || has(self.dataset.validationShare)",
            "hyperparameters.evalSteps needs validation rows; set dataset.validationUri or dataset.validationShare too",
            "hyperparameters",
        ),
        Rule(
            "!has(self.hyperparameters.fsdp) || !self.hyperparameters.fsdp || "
            "(self.method == 'full' && self.resources.gpu > 1)",
            "hyperparameters.fsdp divides method full among GPUs; set method to full and resources.gpu to 2 or more",
            "hyperparameters",
        ),
        Rule(
            f"!has(self.evaluation) || !({same_folder('self.evaluation.dataset.uri', 'self.dataset.uri')})",
            "spec.evaluation.dataset.uri is spec.dataset.uri: a model knows the rows it was trained on, so the result "
            "would mean nothing; keep some rows apart and name them here",
            "evaluation",
            once=True,
        ),
        Rule(
            "!has(self.evaluation) || !has(self.dataset.validationUri) || "
            f"!({same_folder('self.evaluation.dataset.uri', 'self.dataset.validationUri')}) || "
            "!(has(self.hyperparameters.earlyStoppingPatience) || "
            "(has(self.hyperparameters.loadBestModelAtEnd) && self.hyperparameters.loadBestModelAtEnd))",
            "spec.evaluation.dataset.uri is spec.dataset.validationUri, whose rows choose the weights "
            "(loadBestModelAtEnd, earlyStoppingPatience), so they would speak for what they chose; name other rows",
            "evaluation",
            once=True,
        ),
        Rule(
            "!self.recovery.divergence.rollback || has(self.hyperparameters.saveSteps) || "
            "!has(self.hyperparameters.saveMinutes) || self.hyperparameters.saveMinutes > 0.0",
            "recovery.divergence.rollback needs checkpoints to go back to; "
            "set hyperparameters.saveMinutes above 0 or saveSteps",
            "recovery",
        ),
    )

    queue_name: QueueName | None = None
    """Kueue's LocalQueue in this namespace that decides when the training starts and stops. Unset: Kueue has no say."""
    resources: TrainingResources = TrainingResources()
    """What the training's pod asks of its node. The preflight's pod takes no GPU and little else."""
    preflight: Preflight = Preflight()
    """What is checked before a GPU is taken."""
    recovery: Recovery = Recovery()
    """What the trainer may do by itself when a run goes wrong."""
    export: Export | None = None
    """What is published beside the result itself. Unset: nothing."""
    tracking: Tracking | None = None
    """The MLflow server that records the run. Unset: the operator's default; none when it has none."""
    rerun: str | None = Field(
        default=None, min_length=1, max_length=253, json_schema_extra=checked(SEEN_RULE, NOT_BLANK_RULE)
    )
    """Any text. A job whose result is in the object store already, by its namespace, name, method, settings, rows and
    base model, takes it and trains nothing, with the reason ResultFound; another text here trains anew."""
    evaluation: EvaluationTemplate | None = None
    """When the job has succeeded, one Evaluation of the same name is created from this and belongs to the job."""
