"""Contract of the trainer: its configuration."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .types import Dataset, ObjectStore, Owner


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
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adapter (Liu et al. 2024, arXiv 2402.09353); vLLM serves it merged only."""
    loraplus_lr_ratio: float | None = None
    """Learning rate of the B matrices over that of the A matrices (Hayou et al. 2024, arXiv 2402.12354)."""


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
    """Optimizer steps between checkpoints."""
    save_minutes: float = 15.0
    """Minutes between checkpoints, beside ``save_steps``; 0 leaves it to that. Neither saves none."""
    save_total_limit: int = 2
    """Newest checkpoints kept in the store; the best is kept beside them."""
    load_best_model_at_end: bool = False
    """Publish the checkpoint with the lowest validation loss in place of the last weights."""
    early_stopping_patience: int | None = None
    """Evaluations without an improvement after which training stops; None never does."""
    early_stopping_threshold: float = 0.0
    """How much lower than the best a validation loss must be to count as an improvement."""
    neftune_noise_alpha: float | None = None
    """Noise on the embeddings while training (Jain et al. 2023, arXiv 2310.05914)."""
    assistant_only_loss: bool = True
    """Chats: learn assistant turns only."""
    completion_only_loss: bool = True
    """Prompt and completion rows: learn the completion only."""
    fsdp: bool = False
    """Several GPUs: shard weights, gradients and optimizer (method full) in place of a copy per GPU."""


@dataclass(frozen=True)
class Tracking:
    """An MLflow tracking server."""

    uri: str
    experiment: str
    registered_model: str | None = None
    """Name under which the result is registered as a new version; None registers nothing."""


@dataclass(frozen=True)
class Recovery:
    """What the trainer may do by itself when a run goes wrong."""

    adapt_to_memory: bool = True
    """Out of memory: go down the ladder (memory per step is lowered, the effective batch stays) before giving up."""
    loss_sigmas: float = 8.0
    """Diverged when the loss stays this many standard deviations above its running mean; 0 looks for NaN only."""
    patience: int = 3
    """Logged values in a row that must be bad."""
    rollback: bool = False
    """Diverged: go back to the last good checkpoint once, at half the learning rate."""


@dataclass(frozen=True)
class Export:
    """What is published beside the result itself."""

    merged: bool = False
    """Base and adapter as one model."""
    gguf: str | None = None
    """Quantisation of a GGUF file for llama.cpp and Ollama: ``f16``, ``bf16`` or ``q8_0``."""


@dataclass(frozen=True)
class Accelerator:
    """A class of GPUs the run may land on."""

    name: str
    """For example ``NVIDIA-GeForce-RTX-3060``, as GPU feature discovery labels it."""
    memory_bytes: int
    compute_capability: str | None = None
    """``8.6``, say."""
    price_per_hour: float | None = None
    watts: float | None = None
    tflops: float | None = None
    """Dense 16-bit tera-operations per second, from the vendor's data sheet."""


@dataclass(frozen=True)
class Placement:
    """Where the run may land and what that costs; preflight's business."""

    accelerators: tuple[Accelerator, ...] = ()
    """Empty with ``gpus`` > 0: nothing is known about the GPUs."""
    currency: str = ""
    electricity_per_kwh: float | None = None
    cpu_watts: float | None = None
    """Power of a node that trains on its CPU."""


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
    processes: int | None = None
    """Training processes on the node; None means one per GPU, and one on the CPU."""
    recovery: Recovery = field(default_factory=Recovery)
    export: Export = field(default_factory=Export)
    placement: Placement = field(default_factory=Placement)
    preset: str | None = None
    """Name of the preset that was merged in; for the record only."""
    image: str | None = None
    """Image reference of this trainer; for the record only."""
    unset_hyperparameters: tuple[str, ...] | None = None
    """For the preflight: members of Hyperparameters that neither the user nor a preset has set, and which the number of
    rows may decide. None: all of them are as they shall be."""
    dataset_sha256: str | None = None
    """For the training: digest of the rows that the preflight saw. Other rows are refused (``DataChanged``)."""
    results: str | None = None
    """URI of the folder that lists what objects of this namespace and name have published, by what it was made of.
    None: nothing is looked up there and nothing is noted."""
    rerun: str | None = None
    """Sets this run apart from others that are the same in everything else, so that it is trained anew."""
    packing_optional: bool = False
    """Packing is a preset's wish, not the user's: a base whose packed rows would learn from each other is trained
    without it. False: such a base is refused."""
