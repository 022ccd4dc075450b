"""How a FineTuneJob trains: members without a default of the schema's own, because presets are merged under them.

What holds where nothing is written is in ``effective``; the descriptions name it. Where the number of rows decides
(the trainer's ``preflight/byrows.py``), that goes before the default.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune.common.model import ApiModel, Rule, checked
from kubetune.common.syntax import UNBROKEN_RULE

ModuleName = Annotated[
    str, StringConstraints(min_length=1, max_length=128), Field(json_schema_extra=checked(UNBROKEN_RULE))
]


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
    """Optimizers of transformers; the 8-bit and paged ones are bitsandbytes'. All run on a CPU, too, where nothing is
    paged."""

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_8BIT = "adamw_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    PAGED_ADAMW_32BIT = "paged_adamw_32bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"


class Lora(ApiModel):
    """Size and place of the adapter (Hu et al. 2021, arXiv 2106.09685), in peft's words."""

    rank: int | None = Field(default=None, ge=1, le=512)
    """Rank of the update matrices: higher learns more and costs more memory. vLLM serves at most 512. Default 16."""
    alpha: int | None = Field(default=None, ge=1, le=4096)
    """Scale of the update; it is applied as alpha / rank. Default 32."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of the adapter's inputs dropped while training. Default 0."""
    target_modules: tuple[ModuleName, ...] | None = Field(
        default=None,
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
    but the head. Default [all-linear]."""
    use_rslora: bool | None = None
    """Scales the update by alpha / sqrt(rank), which keeps high ranks (64 and more) learning (Kalajdzievski 2023, arXiv
    2312.03732). Default false."""
    use_dora: bool | None = None
    """Learns direction and length of the weights apart (Liu et al. 2024, arXiv 2402.09353): often better at low ranks,
    slower to train. vLLM cannot serve such an adapter: set `export.merged` too if the model is to be served. Default
    false."""
    loraplus_lr_ratio: float | None = Field(default=None, gt=0, le=1000)
    """Learning rate of the adapter's B matrices over that of its A matrices (LoRA+, Hayou et al. 2024, arXiv
    2402.12354); 16 is the paper's. Unset: both learn at learningRate."""


class Hyperparameters(ApiModel):
    """How it is trained, in the words of transformers' TrainingArguments."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.loadBestModelAtEnd) || !self.loadBestModelAtEnd || has(self.evalSteps)",
            "loadBestModelAtEnd compares validation losses on the way; set evalSteps too",
            "loadBestModelAtEnd",
        ),
        Rule(
            "!has(self.earlyStoppingPatience) || has(self.evalSteps)",
            "earlyStoppingPatience counts validation losses on the way; set evalSteps too",
            "earlyStoppingPatience",
        ),
        Rule(
            "!has(self.earlyStoppingThreshold) || has(self.earlyStoppingPatience)",
            "earlyStoppingThreshold is about early stopping; set earlyStoppingPatience too",
            "earlyStoppingThreshold",
        ),
        Rule(
            "!has(self.fsdp) || !self.fsdp || !has(self.optimizer) || self.optimizer.startsWith('adamw_torch')",
            "fsdp divides the state of adamw_torch and adamw_torch_fused only; take one, or leave optimizer out",
            "optimizer",
        ),
    )

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate. 1e-4 to 3e-4 suits adapters, a tenth of that method full. Default 2e-4, with method full
    2e-5."""
    num_train_epochs: float | None = Field(default=None, gt=0, le=1000)
    """Passes over the data; ignored when maxSteps is set. Default 3; the preflight makes it up to 5 for few rows,
    2 from 10,000 rows on and 1 from 50,000."""
    max_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Optimizer steps to train. Unset: numTrainEpochs decides."""
    per_device_train_batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Sequences per forward pass and GPU; lower it first when memory does not suffice. Default 4."""
    gradient_accumulation_steps: int | None = Field(default=None, ge=1, le=4096)
    """Forward passes per optimizer step; the effective batch is this times perDeviceTrainBatchSize times the GPUs.
    Default 4; the preflight makes it what gives 4, 8 or 16 rows per optimizer step, by the number of rows."""
    max_sequence_length: int | None = Field(default=None, ge=8, le=1_048_576)
    """Tokens per sequence; longer rows are cut at the end and counted in status.results.truncatedRows. Default 1024."""
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps over which the learning rate rises from 0. Default 0.03; 0.1 of fewer than 200 steps."""
    weight_decay: float | None = Field(default=None, ge=0, le=1)
    """Decoupled weight decay. Default 0."""
    lr_scheduler_type: LrSchedulerType | None = None
    """Course of the learning rate after the warm-up. Default cosine."""
    optimizer: Optimizer | None = None
    """Optimizer; paged_adamw_8bit saves the most memory on a GPU. Default adamw_torch."""
    max_grad_norm: float | None = Field(default=None, ge=0, le=1000)
    """Gradients are scaled down to this norm; 0 leaves them alone. Default 1."""
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    """Seed of weights, order and dropout. Default 42."""
    packing: bool | None = None
    """Puts several short rows into one sequence: faster with short rows, same loss per row. Default false."""
    gradient_checkpointing: bool | None = None
    """Recomputes activations in the backward pass: much less memory for about a quarter more time. Default false."""
    logging_steps: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps between two values of the loss. Default 10; fewer where there are fewer than 200 steps."""
    eval_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps between two validation losses. Unset: at the end only. Needs validation rows."""
    save_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps between two checkpoints in the object store, beside saveMinutes. Unset: saveMinutes alone decides."""
    save_minutes: float | None = Field(default=None, ge=0, le=10_080)
    """Minutes between two checkpoints in the object store: at most that much work is lost with a node. 0 leaves it to
    saveSteps; with neither, none are saved at all. Default 15."""
    save_total_limit: int | None = Field(default=None, ge=1, le=100)
    """Newest checkpoints kept in the object store; the one with the lowest validation loss is kept beside them. Default
    2."""
    load_best_model_at_end: bool | None = None
    """Publishes the weights with the lowest validation loss in place of the last ones. Needs evalSteps. Default
    false."""
    early_stopping_patience: int | None = Field(default=None, ge=1, le=1000)
    """Validation losses in a row without an improvement after which training stops. Needs evalSteps. Unset: it never
    stops early."""
    early_stopping_threshold: float | None = Field(default=None, ge=0, le=1000)
    """How much lower than the best a validation loss must be to count as an improvement. Default 0."""
    neftune_noise_alpha: float | None = Field(default=None, gt=0, le=1000)
    """Noise on the embeddings while training (NEFTune, Jain et al. 2023, arXiv 2310.05914): less parroting of small
    sets of instructions; 5 to 15 is usual. Unset: none."""
    assistant_only_loss: bool | None = None
    """Chats: the assistant's turns are learned, the others are only read. Default true."""
    completion_only_loss: bool | None = None
    """Rows of prompt and completion: the completion is learned, the prompt only read. Default true."""
    fsdp: bool | None = None
    """Method full on several GPUs: weights, gradients and optimizer are divided among them, in place of a copy on each.
    Default false."""
