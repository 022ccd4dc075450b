"""Contract of the trainer: progress while it runs, summary at the end."""

from __future__ import annotations

from dataclasses import dataclass

from .types import Artifact


@dataclass(frozen=True)
class RecoveryStep:
    """One thing the trainer did to save a run, and the settings it went on with."""

    kind: str
    """``OutOfMemory`` or ``Divergence``."""
    action: str
    """``halveBatch``, ``gradientCheckpointing``, ``optimizer8bit`` or ``rollback``."""
    message: str
    at: float
    """Seconds since the epoch (UTC)."""
    step: int
    """Optimizer step at which it happened."""
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    optimizer: str
    learning_rate: float


@dataclass(frozen=True)
class Suggestion:
    """Something a user could do better, seen while training."""

    reason: str
    """One CamelCase word, for example ``FlatLoss``, ``Overfitting``, ``SlowInput`` or ``MemoryNearLimit``."""
    message: str


@dataclass(frozen=True)
class TrainProgress:
    """Answer of ``GET /progress`` on the progress port; times are seconds since the epoch (UTC)."""

    phase: str
    """One of ``Phase``, or what a newer release calls it."""
    step: int
    total_steps: int
    updated_at: float
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    peak_vram_bytes: int | None = None
    last_checkpoint: int | None = None
    last_checkpoint_at: float | None = None
    best_step: int | None = None
    """Step of the checkpoint with the lowest validation loss."""
    reserved_vram_bytes: int | None = None
    gpu_utilization: float | None = None
    """Share of the time in which the GPU computed, in [0, 1], from NVML."""
    tokens: int | None = None
    """Tokens trained so far, all attempts."""
    step_seconds: float | None = None
    checkpoint_seconds: float | None = None
    """Longest time from the start of saving to the manifest in the store."""
    active_seconds: float | None = None
    """Time pods of this object have spent in ``train``, all attempts: from the process's start (libraries and model
    are part of it, the GPU is taken) to its end."""
    recovery: tuple[RecoveryStep, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True)
class RowSettings:
    """Hyperparameters that follow from the number of rows, because nobody has set them; None: not decided here."""

    reason: str
    """In a sentence, with the numbers."""
    num_train_epochs: float | None = None
    gradient_accumulation_steps: int | None = None
    warmup_ratio: float | None = None
    logging_steps: int | None = None


@dataclass(frozen=True)
class FoundResult:
    """Where a result comes from that was found in the store, and so not trained again."""

    at: float
    """When it was published, in seconds since the epoch (UTC)."""
    uid: str
    """Of the object that trained it."""
    settings: RowSettings | None = None
    """What the number of rows decides; as in PreflightSummary."""


@dataclass(frozen=True)
class TrainSummary:
    """The trainer's termination message on success; the preflight's, too, when it finds the result in the store."""

    schema: int
    artifact: Artifact
    steps: int
    train_rows: int
    validation_rows: int
    duration_seconds: float
    train_loss: float | None = None
    eval_loss: float | None = None
    dataset_sha256: str | None = None
    mlflow_run_id: str | None = None
    peak_vram_bytes: int | None = None
    dropped_rows: int = 0
    """Rows left out because no token of theirs is part of the loss."""
    truncated_rows: int = 0
    exports: tuple[Artifact, ...] = ()
    best_step: int | None = None
    """Step whose weights were published; None for the last one."""
    stopped_early: bool = False
    tokens: int | None = None
    active_seconds: float | None = None
    recovery: tuple[RecoveryStep, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    model_version: str | None = None
    """``name/version`` in the MLflow registry."""
    first_loss: float | None = None
    """The first training loss that was logged, over all attempts."""
    last_loss: float | None = None
    """The last one."""
    run_sha256: str | None = None
    """Names what the result was made of: method, settings, rows and base."""
    found: FoundResult | None = None
    """Set when nothing was trained, because a result of the same namespace, name and ``run_sha256`` was there."""
