"""What must hold between the fields of a TrainConfig; the first check of prepare. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kubetune_contract import ExitCode, Hyperparameters, KubeTuneError, Lora, Method, TrainConfig

SCHEDULERS = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "polynomial",
)
"""transformers' SchedulerType, without those that need further arguments."""
OPTIMIZERS = (
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "sgd",
)
"""transformers' OptimizerNames that need nothing this image lacks."""


def validate(config: TrainConfig) -> None:
    """Raises KubeTuneError (BAD_CONFIG, InvalidConfig) naming every field that is wrong."""
    problems = list(_problems(config))
    if problems:
        raise KubeTuneError(ExitCode.BAD_CONFIG, "InvalidConfig", "; ".join(problems))


def _problems(config: TrainConfig) -> Iterator[str]:
    yield from _hyperparameter_problems(config.hyperparameters)
    yield from _dataset_problems(config)
    if config.method is not Method.FULL:
        yield from _lora_problems(config.lora)
    if config.gpus not in {0, 1}:
        yield f"gpus must be 0 or 1, is {config.gpus}: this release trains on one GPU"


def _hyperparameter_problems(hyper: Hyperparameters) -> Iterator[str]:
    for name in ("learning_rate", "num_train_epochs"):
        value = getattr(hyper, name)
        if not (value > 0 and math.isfinite(value)):
            yield f"hyperparameters.{name} must be above 0, is {value}"
    for name in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "max_sequence_length",
        "logging_steps",
        "max_steps",
        "eval_steps",
        "save_steps",
    ):
        value = getattr(hyper, name)
        if value is not None and value < 1:
            yield f"hyperparameters.{name} must be at least 1, is {value}"
    if not 0 <= hyper.warmup_ratio <= 1:
        yield f"hyperparameters.warmup_ratio must be in [0, 1], is {hyper.warmup_ratio}"
    for name in ("weight_decay", "max_grad_norm"):
        value = getattr(hyper, name)
        if not 0 <= value < math.inf:
            yield f"hyperparameters.{name} must not be negative, is {value}"
    if hyper.lr_scheduler_type not in SCHEDULERS:
        yield f"lr_scheduler_type {hyper.lr_scheduler_type!r} is not one of {', '.join(SCHEDULERS)}"
    if hyper.optimizer not in OPTIMIZERS:
        yield f"optimizer {hyper.optimizer!r} is not one of {', '.join(OPTIMIZERS)}"


def _dataset_problems(config: TrainConfig) -> Iterator[str]:
    share = config.dataset.validation_share
    if share is not None and config.dataset.validation_uri is not None:
        yield "dataset: set validation_uri or validation_share, not both"
    if share is not None and not 0 < share <= 0.5:
        yield f"dataset.validation_share must be in (0, 0.5], is {share}"
    if config.hyperparameters.eval_steps and share is None and config.dataset.validation_uri is None:
        yield "eval_steps needs validation rows: set dataset.validation_share or dataset.validation_uri"


def _lora_problems(lora: Lora) -> Iterator[str]:
    if lora.rank < 1 or lora.alpha < 1:
        yield f"lora.rank and lora.alpha must be at least 1, are {lora.rank} and {lora.alpha}"
    if not 0 <= lora.dropout < 1:
        yield f"lora.dropout must be in [0, 1), is {lora.dropout}"
    if not lora.target_modules:
        yield "lora.target_modules is empty; use all-linear or name layers such as q_proj"
    if "all-linear" in lora.target_modules and len(lora.target_modules) > 1:
        yield "lora.target_modules: all-linear stands alone"
    if "lm_head" in lora.target_modules:
        yield "lora.target_modules: an adapter on lm_head can be neither trained nor served; leave it out"
