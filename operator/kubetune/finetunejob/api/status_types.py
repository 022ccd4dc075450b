"""What a FineTuneJob's status tells."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune.common.job_status import JobStatus
from kubetune.common.model import ApiModel, Timestamp
from kubetune_contract import UNUSED_LIMIT, Fit

from .hyperparameters import Hyperparameters, Lora

RECOVERY_LIMIT = 32
RUN_ID_LIMIT, MODEL_VERSION_LIMIT = 64, 512
SUGGESTION_LIMIT = 16
EXPORT_LIMIT = 8
POD_LIMIT = 128

RecognisedColumn = Annotated[str, StringConstraints(max_length=128)]
PodName = Annotated[str, StringConstraints(max_length=253)]


class EffectiveSettings(ApiModel):
    """The settings in force: the spec, its preset, what the number of rows decides and the defaults, merged."""

    lora: Lora | None = None
    """The adapter; absent with method full."""
    hyperparameters: Hyperparameters
    """How it is trained; status.recovery tells what the trainer had to change since."""


class Suggestion(ApiModel):
    """Something that could be done better."""

    reason: str = Field(max_length=256)
    """One CamelCase word."""
    message: str = Field(max_length=1024)
    """What was seen, and what to do."""


class MemoryEstimate(ApiModel):
    """Bytes at the peak, per GPU or (on a CPU) of main memory, by what they are for."""

    weights: int = Field(ge=0)
    """The base model as it is loaded."""
    adapter: int = Field(ge=0)
    """The adapter's weights."""
    gradients: int = Field(ge=0)
    """Gradients of what is trained."""
    optimizer: int = Field(ge=0)
    """The optimizer's state."""
    activations: int = Field(ge=0)
    """What the backward pass needs of the longest batch."""
    overhead: int = Field(ge=0)
    """CUDA context, kernels' workspace and fragmentation; on a CPU the libraries."""
    total: int = Field(ge=0)
    """All of it."""
    available: int | None = Field(default=None, ge=0)
    """Memory of the GPU the verdict is about, or what the pod may use."""
    accelerator: str | None = Field(default=None, max_length=256)
    """That GPU's name; absent on a CPU."""


class Estimate(ApiModel):
    """An estimate and the interval it lies in with about 90 % probability."""

    low: float
    """Lower end."""
    estimate: float
    """Central value."""
    high: float
    """Upper end."""


class RowSettings(ApiModel):
    """Settings that follow from the number of rows, because neither spec.hyperparameters nor a preset has them."""

    reason: str = Field(max_length=512)
    """In words, with the numbers."""
    num_train_epochs: float | None = Field(default=None, gt=0, le=1000)
    """Passes over the data."""
    gradient_accumulation_steps: int | None = Field(default=None, ge=1, le=4096)
    """Forward passes per optimizer step."""
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    logging_steps: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps between two values of the loss."""


class PreflightStatus(ApiModel):
    """What was found out before a GPU was taken."""

    fit: Fit
    """`Fits`, `Tight` (within a few percent of the memory; on a CPU: may not suffice), `DoesNotFit`, or `Unknown` where
    nothing is known about the GPUs."""
    message: str = Field(max_length=2048)
    """The verdict in words."""
    train_rows: int = Field(ge=0)
    """Rows to train on."""
    validation_rows: int = Field(ge=0)
    """Rows held out."""
    dataset_sha256: str = Field(alias="datasetSHA256", max_length=64)
    """SHA-256 over the rows that were read."""
    steps: int = Field(ge=0)
    """Optimizer steps planned."""
    tokens_per_epoch: int = Field(ge=0)
    """Tokens of one pass over the data, after rows were cut."""
    token_lengths: dict[str, int] | None = Field(default=None, max_length=8)
    """`p50`, `p90`, `p99` and `max` of the rows' lengths in tokens, before rows were cut."""
    histogram: dict[str, int] | None = Field(default=None, max_length=32)
    """Upper bound of a bin in tokens -> rows."""
    truncated_rows: int = Field(default=0, ge=0)
    """Rows that are cut to maxSequenceLength."""
    dropped_rows: int = Field(default=0, ge=0)
    """Rows left out because no token of theirs counts in the loss."""
    masked_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the tokens that do not count in the loss."""
    duplicate_rows: int = Field(default=0, ge=0)
    """Rows that are there more than once."""
    leaked_rows: int = Field(default=0, ge=0)
    """Validation rows that are training rows as well."""
    missing_rows: int = Field(default=0, ge=0)
    """Rows left out because a cell is missing (`spec.dataset.missing: Drop`)."""
    unused_members: dict[str, int] | None = Field(default=None, max_length=UNUSED_LIMIT)
    """Members of the rows that nothing is learned from, by their path -> rows that have them; `...` counts those
    beyond the first 15."""
    columns: dict[str, RecognisedColumn] | None = Field(default=None, max_length=16)
    """Our names of members -> the columns that were recognised as them, where `spec.dataset.columns` names none."""
    columns_confidence: float | None = Field(default=None, ge=0, le=1)
    """How sure that is; below 0.6 the job is refused."""
    memory: MemoryEstimate | None = None
    """Bytes at the peak, per GPU or of main memory."""
    disk_bytes: int = Field(default=0, ge=0)
    """Scratch space of the pod."""
    checkpoint_bytes: int = Field(default=0, ge=0)
    """Size of one checkpoint."""
    upload_bytes_per_second: float | None = None
    """Measured speed to the object store."""
    seconds: Estimate | None = None
    """Time of training."""
    cost: Estimate | None = None
    """Cost of training, in the operator's currency."""
    kwh: Estimate | None = Field(default=None, alias="kWh")
    """Energy of training."""
    settings: RowSettings | None = None
    """What the number of rows decides; the figures above are those of a run with it."""


class TrainingProgress(ApiModel):
    """How far the training is, as the pod said last; while no pod trains, what of it is kept."""

    phase: str | None = Field(default=None, max_length=64)
    """What the pod is doing, in its words: `loading the model`, `training`, `publishing`; absent while none trains."""
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
    tokens: int | None = Field(default=None, ge=0)
    """Tokens trained so far, over all attempts."""
    tokens_per_second: float | None = None
    """Speed of training."""
    eta_seconds: int | None = None
    """Time left at the present speed, in seconds."""
    last_checkpoint: int | None = Field(default=None, ge=0)
    """Step of the newest checkpoint in the object store: what a new pod goes on from."""
    last_checkpoint_time: Timestamp | None = None
    """When it was published."""
    best_step: int | None = Field(default=None, ge=0)
    """Step with the lowest validation loss so far."""
    updated_at: Timestamp | None = None
    """When the trainer said so."""
    display: str | None = Field(default=None, max_length=64)
    """For example `62% 310/500`."""
    eta: str | None = Field(default=None, max_length=32)
    """Time left for people, for example `12m`; absent while no pod trains."""


class RecoveryStatus(ApiModel):
    """One thing the trainer did to save the run, and the settings it went on with."""

    kind: str = Field(max_length=64)
    """`OutOfMemory` or `Divergence`."""
    action: str = Field(max_length=64)
    """`halveBatch`, `gradientCheckpointing`, `optimizer8bit` or `rollback`."""
    message: str = Field(max_length=1024)
    """What happened, in words."""
    time: Timestamp
    """When."""
    step: int = Field(ge=0)
    """Optimizer step at which it happened."""
    per_device_train_batch_size: int = Field(ge=1)
    """Sequences per forward pass since then."""
    gradient_accumulation_steps: int = Field(ge=1)
    """Forward passes per optimizer step since then."""
    gradient_checkpointing: bool
    """Whether activations are recomputed since then."""
    optimizer: str = Field(max_length=64)
    """Optimizer since then."""
    learning_rate: float
    """Peak learning rate since then."""


class ArtifactStatus(ApiModel):
    """A published folder."""

    uri: str = Field(max_length=2048)
    """Its place in the object store."""
    kind: str = Field(max_length=32)
    """`adapter` or `model`; of an export `merged` (base and adapter as one model) or `gguf`."""
    manifest_sha256: str = Field(alias="manifestSHA256", max_length=64)
    """SHA-256 of the folder's manifest.json, which lists every file with its own."""
    bytes: int = Field(ge=0)
    """Size of all files."""


class TrainingResults(ApiModel):
    """Figures of the finished run."""

    steps: int = Field(ge=0)
    """Optimizer steps done."""
    best_step: int | None = Field(default=None, ge=0)
    """Step whose weights were published; absent for the last one."""
    stopped_early: bool = False
    """Whether the validation loss stopped improving and training with it."""
    train_rows: int = Field(ge=0)
    """Rows trained on."""
    validation_rows: int = Field(ge=0)
    """Rows held out."""
    train_loss: float | None = None
    """Mean training loss."""
    first_loss: float | None = None
    """First training loss that was logged."""
    last_loss: float | None = None
    """Last training loss that was logged."""
    eval_loss: float | None = None
    """Last validation loss."""
    duration_seconds: float
    """Seconds from the start of the last pod's training process to the result: libraries, model, steps."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens trained, over all attempts."""
    dataset_sha256: str | None = Field(default=None, alias="datasetSHA256", max_length=64)
    """SHA-256 over the rows that were read."""
    dropped_rows: int = Field(default=0, ge=0)
    """Rows left out because no token of theirs counts in the loss."""
    truncated_rows: int = Field(default=0, ge=0)
    """Rows cut to maxSequenceLength."""
    peak_vram_bytes: int | None = Field(default=None, ge=0)
    """Most GPU memory in use."""
    run_sha256: str | None = Field(default=None, alias="runSHA256", max_length=64)
    """Names what the result was made of: method, settings, rows and base model. Equal for runs that stand for each
    other."""
    trained_time: Timestamp | None = None
    """When it was trained, where that was not for this object: its result was found in the object store."""


class CostStatus(ApiModel):
    """What the training has cost so far. Only the time of its training processes counts, in all its pods."""

    active_seconds: float = Field(default=0.0, ge=0)
    """Time of the training processes of all its pods, in seconds, each from its start: loading libraries and model, the
    trial of the longest batch, steps, evaluations, publishing. Waiting, fetching and suspensions do not count."""
    gpu_seconds: float = Field(default=0.0, ge=0)
    """The same times the number of GPUs."""
    reported_seconds: float = Field(default=0.0, ge=0)
    """The trainer's own count, which begins at the last checkpoint again after a pod was killed; activeSeconds goes on
    from it."""
    amount: float | None = Field(default=None, ge=0)
    """Price of the GPU's class, or of the electricity where the class has none; absent while neither is known."""
    currency: str | None = Field(default=None, max_length=16)
    """Of the amount."""
    kwh: float | None = Field(default=None, alias="kWh", ge=0)
    """Energy; absent while the power of the GPU's class is not known."""
    accelerator: str | None = Field(default=None, max_length=256)
    """The GPU the last pod ran on, as the node's label nvidia.com/gpu.product names it."""
    display: str | None = Field(default=None, max_length=64)
    """For example `3.10 EUR`."""


class QueueStatus(ApiModel):
    """What a job in phase Queued waits for."""

    reason: str | None = Field(default=None, max_length=256)
    """`Queued` for a place, a turn or Kueue, `BudgetExceeded` for the budget: others of the namespace go by it."""
    position: int | None = Field(default=None, ge=1)
    """Place among the jobs of this namespace that wait for a free place, 1 being the next and those that no node can
    take the last; absent when it waits for something else."""
    message: str = Field(max_length=2048)
    """What it waits for, and what to do."""


class EvaluationRef(ApiModel):
    """The Evaluation made from `spec.evaluation`."""

    name: str = Field(max_length=253)
    """Its name, in this namespace."""


class FineTuneJobStatus(JobStatus):
    """What was measured."""

    pods: tuple[PodName, ...] | None = Field(
        default=None, max_length=POD_LIMIT, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """The last pods that are counted in attempts."""
    active_seconds: int | None = Field(default=None, ge=0)
    """Seconds used of spec.activeDeadlineSeconds, as of its last stop or, while it runs, of the last write."""
    queue: QueueStatus | None = None
    """What it waits for; absent unless it is in phase Queued."""
    cost: CostStatus | None = None
    """What it has cost so far."""
    effective: EffectiveSettings | None = None
    """The settings in force: the spec, its preset, what the number of rows decides and the defaults, merged."""
    preflight: PreflightStatus | None = None
    """What was found out before a GPU was taken."""
    progress: TrainingProgress | None = None
    """How far the training is."""
    recovery: tuple[RecoveryStatus, ...] | None = Field(
        default=None, max_length=RECOVERY_LIMIT, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What the trainer did to save the run, oldest first."""
    suggestions: tuple[Suggestion, ...] | None = Field(
        default=None, max_length=SUGGESTION_LIMIT, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What could be done better, as seen by preflight and trainer."""
    artifact: ArtifactStatus | None = None
    """The published adapter or model."""
    exports: tuple[ArtifactStatus, ...] | None = Field(
        default=None, max_length=EXPORT_LIMIT, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What was published beside it, as spec.export asks."""
    results: TrainingResults | None = None
    """Figures of the finished run."""
    mlflow_run_id: str | None = Field(default=None, alias="mlflowRunID", max_length=RUN_ID_LIMIT)
    """The run in MLflow."""
    model_version: str | None = Field(default=None, max_length=MODEL_VERSION_LIMIT)
    """`name/version` of the result in MLflow's model registry."""
    evaluation_ref: EvaluationRef | None = None
    """The Evaluation made from `spec.evaluation`."""
