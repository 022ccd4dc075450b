"""Contract of the trainer: configuration in, progress while it runs, summary out."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .types import Artifact, Dataset, ObjectStore, Owner


class Method(enum.StrEnum):
    """How the base model's weights are changed."""

    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"


@dataclass(frozen=True)
class Lora:
    """Hu et al. 2021 (arXiv 2106.09685), in peft's words."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)


@dataclass(frozen=True)
class Hyperparameters:
    """transformers.TrainingArguments' words; ``max_steps`` wins over ``num_train_epochs`` when set."""

    learning_rate: float = 2e-4
    num_train_epochs: float = 3.0
    max_steps: int | None = None
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 4
    max_sequence_length: int = 1024
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    lr_scheduler_type: str = "cosine"
    optimizer: str = "adamw_torch"
    max_grad_norm: float = 1.0
    seed: int = 42
    packing: bool = False
    gradient_checkpointing: bool = False
    logging_steps: int = 10
    eval_steps: int | None = None
    """None evaluates at the end only."""
    save_steps: int | None = None
    """Optimizer steps between checkpoints; None saves none."""


@dataclass(frozen=True)
class Tracking:
    """An MLflow tracking server."""

    uri: str
    experiment: str


@dataclass(frozen=True)
class TrainConfig:
    """Everything the trainer needs to know, without secrets."""

    schema: int
    owner: Owner
    base_model: str
    """URI of the base model's folder."""
    dataset: Dataset
    output: str
    """URI of the folder that belongs to this object alone; the trainer writes below it."""
    store: ObjectStore
    method: Method = Method.LORA
    lora: Lora = field(default_factory=Lora)
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    tracking: Tracking | None = None
    gpus: int = 0


@dataclass(frozen=True)
class TrainProgress:
    """Answer of ``GET /progress`` on the progress port; times are seconds since the epoch (UTC)."""

    phase: str
    """``preparing``, ``training``, ``publishing``, ``done`` or ``failed``."""
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


@dataclass(frozen=True)
class TrainSummary:
    """The trainer's termination message on success."""

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
