"""The FineTuneJob resource: one training run, from a base model and data to an adapter or a model."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune.common.dataset import TrainingDataset
from kubetune.common.job_status import JobStatus
from kubetune.common.meta import AGE, Column, KindInfo, Resource
from kubetune.common.model import ApiModel, Rule, Timestamp, checked
from kubetune.common.model_source import BaseModelSource
from kubetune.common.pod_options import JobOptions, Resources
from kubetune.common.uris import HttpUri
from kubetune.evaluation.api import EvaluationTemplate
from kubetune_contract.train import Method

ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Reason(enum.StrEnum):
    """Reasons of a FineTuneJob's conditions; a failure may also carry a reason of the trainer's own."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"
    RUNTIME_CLASS_NOT_FOUND = "RuntimeClassNotFound"
    NO_NODE_WITH_GPU = "NoNodeWithGPU"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CREATION_REFUSED = "CreationRefused"
    WAITING = "Waiting"
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULED = "Scheduled"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    PREPARING = "Preparing"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    RETRYING = "Retrying"
    COMPLETED = "Completed"
    OUT_OF_MEMORY = "OutOfMemory"
    BAD_CONFIG = "BadConfig"
    BAD_DATA = "BadData"
    INPUT_NOT_FOUND = "InputNotFound"
    PERMISSION_DENIED = "PermissionDenied"
    UNAVAILABLE = "Unavailable"
    PREEMPTED = "Preempted"
    EVICTED = "Evicted"
    DIVERGED = "Diverged"
    ERROR = "Error"
    RESULT_LOST = "ResultLost"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"


class LrSchedulerType(enum.StrEnum):
    """Learning rate schedules of transformers that need no further settings."""

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"


class Optimizer(enum.StrEnum):
    """Optimizers of transformers; the 8-bit and paged ones are bitsandbytes' and need a GPU."""

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_8BIT = "adamw_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    PAGED_ADAMW_32BIT = "paged_adamw_32bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"


class Lora(ApiModel):
    """Size and place of the adapter (Hu et al. 2021, arXiv 2106.09685), in peft's words."""

    rank: int = Field(default=16, ge=1, le=512)
    """Rank of the update matrices: higher learns more and costs more memory. vLLM serves at most 512."""
    alpha: int = Field(default=32, ge=1, le=4096)
    """Scale of the update; it is applied as alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped while training."""
    target_modules: tuple[ModuleName, ...] = Field(
        default=("all-linear",),
        min_length=1,
        max_length=64,
        json_schema_extra=checked(
            Rule(
                "!('all-linear' in self) || self.size() == 1",
                "all-linear already means every linear layer; list it alone or name the modules",
            ),
            **{"x-kubernetes-list-type": "set"},
        ),
    )
    """Names of the modules that get an adapter, for example `[q_proj, v_proj]`; `all-linear` means every linear layer
    but the head."""


class Hyperparameters(ApiModel):
    """How it is trained, in the words of transformers' TrainingArguments."""

    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Peak learning rate. 1e-4 to 3e-4 suits adapters; use about a tenth with method full."""
    num_train_epochs: float = Field(default=3.0, gt=0, le=1000)
    """Passes over the data; ignored when maxSteps is set."""
    max_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Optimizer steps to train. Unset: numTrainEpochs decides."""
    per_device_train_batch_size: int = Field(default=4, ge=1, le=1024)
    """Sequences per forward pass and GPU; lower it first when memory does not suffice."""
    gradient_accumulation_steps: int = Field(default=4, ge=1, le=4096)
    """Forward passes per optimizer step; the effective batch is this times perDeviceTrainBatchSize times the GPUs."""
    max_sequence_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Tokens per sequence; longer rows are cut at the end and counted in status.results.truncatedRows."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""
    lr_scheduler_type: LrSchedulerType = LrSchedulerType.COSINE
    """Course of the learning rate after the warm-up."""
    optimizer: Optimizer = Optimizer.ADAMW_TORCH
    """Optimizer; paged_adamw_8bit saves the most memory on a GPU."""
    max_grad_norm: float = Field(default=1.0, ge=0, le=1000)
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of weights, order and dropout."""
    packing: bool = False
    """Puts several short rows into one sequence: faster with short rows, same loss per row."""
    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: much less memory for about a quarter more time."""
    logging_steps: int = Field(default=10, ge=1, le=1_000_000)
    """Steps between two values of the loss."""
    eval_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps between two validation losses. Unset: at the end only. Needs validation rows."""
    save_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps between two checkpoints in the object store. Unset: none are saved."""


class Tracking(ApiModel):
    """The MLflow server that records the run."""

    uri: HttpUri | None = None
    """Tracking server, for example `http://mlflow:5000`. Unset: the operator's default."""
    experiment: str | None = Field(default=None, min_length=1, max_length=250)
    """Experiment of the run. Unset: the namespace's name."""


class Training(ApiModel):
    """What is trained on what."""

    base_model: BaseModelSource
    """The model to start from."""
    dataset: TrainingDataset
    """The rows to learn."""
    method: Method = Method.LORA
    """`lora` trains a small adapter; `qlora` the same over a base in 4 bits (least memory); `full` changes every
    weight."""
    lora: Lora | None = None
    """Size and place of the adapter; for methods lora and qlora. Unset: rank 16 and alpha 32 on all linear layers."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How it is trained."""


class TrainingResources(Resources):
    """What the training's pod asks of its node."""

    gpu: int = Field(default=0, ge=0, le=1)
    """1 trains on a GPU (`nvidia.com/gpu` unless the operator is set up for another resource), 0 on the CPU."""


class FineTuneJobSpec(JobOptions, Training):
    """What to train."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.method != 'full' || !has(self.lora)",
            "method full trains every weight and has no adapter; remove lora, or use method lora or qlora",
            "lora",
        ),
        Rule(
            "!has(self.hyperparameters.evalSteps) || "
            "has(self.dataset.validationUri) || has(self.dataset.validationShare)",
            "hyperparameters.evalSteps needs validation rows; set dataset.validationUri or dataset.validationShare too",
            "hyperparameters",
        ),
    )

    resources: TrainingResources = TrainingResources()
    """What the training's pod asks of its node."""
    tracking: Tracking | None = None
    """The MLflow server that records the run. Unset: the operator's default; none when it has none."""
    evaluation: EvaluationTemplate | None = None
    """When the job has succeeded, one Evaluation of the same name is created from this and belongs to the job."""


class TrainingProgress(ApiModel):
    """How far the training is, as the pod said last."""

    step: int = Field(ge=0)
    """Optimizer steps done."""
    total_steps: int = Field(ge=0)
    """Optimizer steps planned."""
    percent: int = Field(ge=0, le=100)
    """Steps done in percent, rounded down."""
    epoch: float | None = None
    """Passes over the data."""
    loss: float | None = None
    """Training loss, mean since the last log."""
    eval_loss: float | None = None
    """Validation loss."""
    learning_rate: float | None = None
    """Current learning rate."""
    grad_norm: float | None = None
    """Norm of the gradient before it was clipped."""
    tokens_per_second: float | None = None
    """Speed of training."""
    eta_seconds: int | None = None
    """Time left at the present speed, in seconds."""
    updated_at: Timestamp | None = None
    """When the trainer said so."""
    display: str | None = Field(default=None, max_length=64)
    """For example `62% 310/500`."""
    eta: str | None = Field(default=None, max_length=32)
    """Time left for people, for example `12m`."""


class ArtifactStatus(ApiModel):
    """The published result."""

    uri: str = Field(max_length=2048)
    """Its folder in the object store."""
    kind: str = Field(max_length=32)
    """`adapter` or `model`."""
    manifest_sha256: str = Field(alias="manifestSHA256", max_length=64)
    """SHA-256 of the folder's manifest.json, which lists every file with its own."""
    bytes: int = Field(ge=0)
    """Size of all files."""


class TrainingResults(ApiModel):
    """Figures of the finished run."""

    steps: int = Field(ge=0)
    """Optimizer steps done."""
    train_rows: int = Field(ge=0)
    """Rows trained on."""
    validation_rows: int = Field(ge=0)
    """Rows held out."""
    train_loss: float | None = None
    """Mean training loss."""
    eval_loss: float | None = None
    """Last validation loss."""
    duration_seconds: float
    """Time spent training, in seconds."""
    dataset_sha256: str | None = Field(default=None, alias="datasetSHA256", max_length=64)
    """SHA-256 over the rows that were read."""
    dropped_rows: int = Field(default=0, ge=0)
    """Rows left out because no token of theirs counts in the loss."""
    truncated_rows: int = Field(default=0, ge=0)
    """Rows cut to maxSequenceLength."""
    peak_vram_bytes: int | None = Field(default=None, ge=0)
    """Most GPU memory in use."""


class EvaluationRef(ApiModel):
    """The Evaluation made from `spec.evaluation`."""

    name: str = Field(max_length=253)
    """Its name, in this namespace."""


class FineTuneJobStatus(JobStatus):
    """What was measured."""

    progress: TrainingProgress | None = None
    """How far the training is."""
    artifact: ArtifactStatus | None = None
    """The published adapter or model."""
    results: TrainingResults | None = None
    """Figures of the finished run."""
    mlflow_run_id: str | None = Field(default=None, alias="mlflowRunID", max_length=64)
    """The run in MLflow."""
    evaluation_ref: EvaluationRef | None = None
    """The Evaluation made from `spec.evaluation`."""


class FineTuneJob(Resource):
    """One training run: a base model and data become an adapter (lora, qlora) or a model (full) in the object store."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="FineTuneJob",
        plural="finetunejobs",
        short="ftj",
        columns=(
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.display"),
            Column("Loss", ".status.progress.loss", "number"),
            Column("ETA", ".status.progress.eta"),
            Column("GPU", ".spec.resources.gpu", "integer"),
            Column("Method", ".spec.method", wide=True),
            Column("Base", ".spec.baseModel.uri", wide=True),
            Column("Reason", '.status.conditions[?(@.type=="Succeeded")].reason', wide=True),
            AGE,
        ),
    )

    spec: FineTuneJobSpec
    """What to train. Nothing but `suspend` can be changed after creation."""
    status: FineTuneJobStatus = FineTuneJobStatus()
    """What was measured."""
