"""What must hold between the fields of a TrainConfig; the first check of prepare. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kubetune_contract import (
    Dataset,
    ExitCode,
    Hyperparameters,
    KubeTuneError,
    Lora,
    Method,
    Recovery,
    RowFormat,
    TrainConfig,
)
from kubetune_shared.rows import MEMBERS

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
SHARDED_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")

MOST_PROCESSES = 8
"""On one node."""


def validate(config: TrainConfig) -> None:
    """Raises KubeTuneError (BAD_CONFIG, InvalidConfig) naming every field that is wrong."""
    problems = list(_problems(config))
    if problems:
        raise KubeTuneError(ExitCode.BAD_CONFIG, "InvalidConfig", "; ".join(problems))


def _problems(config: TrainConfig) -> Iterator[str]:
    yield from _hyperparameter_problems(config.hyperparameters)
    yield from _dataset_problems(config.dataset)
    yield from _evaluation_problems(config)
    yield from _full_problems(config) if config.method is Method.FULL else _lora_problems(config.lora)
    yield from _process_problems(config)
    yield from _recovery_problems(config.recovery)


def _hyperparameter_problems(hyper: Hyperparameters) -> Iterator[str]:
    for name in ("learning_rate", "num_train_epochs", "neftune_noise_alpha"):
        value = getattr(hyper, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            yield f"hyperparameters.{name} must be above 0, is {value}"
    for name in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "max_sequence_length",
        "logging_steps",
        "max_steps",
        "eval_steps",
        "save_steps",
        "save_total_limit",
        "early_stopping_patience",
    ):
        value = getattr(hyper, name)
        if value is not None and value < 1:
            yield f"hyperparameters.{name} must be at least 1, is {value}"
    if not 0 <= hyper.warmup_ratio <= 1:
        yield f"hyperparameters.warmup_ratio must be in [0, 1], is {hyper.warmup_ratio}"
    for name in ("weight_decay", "max_grad_norm", "save_minutes", "early_stopping_threshold"):
        value = getattr(hyper, name)
        if not 0 <= value < math.inf:
            yield f"hyperparameters.{name} must not be negative, is {value}"
    if hyper.lr_scheduler_type not in SCHEDULERS:
        yield f"lr_scheduler_type {hyper.lr_scheduler_type!r} is not one of {', '.join(SCHEDULERS)}"
    if hyper.optimizer not in OPTIMIZERS:
        yield f"optimizer {hyper.optimizer!r} is not one of {', '.join(OPTIMIZERS)}"


def _dataset_problems(dataset: Dataset) -> Iterator[str]:
    share = dataset.validation_share
    if share is not None and dataset.validation_uri is not None:
        yield "dataset: set validation_uri or validation_share, not both"
    if share is not None and not 0 < share <= 0.5:
        yield f"dataset.validation_share must be in (0, 0.5], is {share}"
    unknown = sorted(set(dataset.columns) - set(MEMBERS))
    if unknown:
        yield f"dataset.columns: unknown member {', '.join(unknown)}; name our members first: {', '.join(MEMBERS)}"
    if dataset.system_prompt and dataset.format is RowFormat.TEXT:
        yield "dataset.system_prompt has no place in plain text; leave it out or use another format"


def _evaluation_problems(config: TrainConfig) -> Iterator[str]:
    """What watches the validation loss needs rows for it, and evaluations on the way."""
    hyper, dataset = config.hyperparameters, config.dataset
    rows = dataset.validation_share is not None or dataset.validation_uri is not None
    watching = {
        "early_stopping_patience": hyper.early_stopping_patience is not None,
        "load_best_model_at_end": hyper.load_best_model_at_end,
    }
    wanted = [name for name, set_ in watching.items() if set_]
    if not rows:
        for name in ["eval_steps"] * (hyper.eval_steps is not None) + wanted:
            yield f"{name} needs validation rows: set dataset.validation_share or dataset.validation_uri"
    if hyper.eval_steps is None:
        for name in wanted:
            yield f"{name} needs evaluations on the way: set hyperparameters.eval_steps"


def _full_problems(config: TrainConfig) -> Iterator[str]:
    for name in ("use_rslora", "use_dora", "loraplus_lr_ratio"):
        if getattr(config.lora, name):
            yield f"lora.{name} needs an adapter: use method lora or qlora, or leave it out"


def _process_problems(config: TrainConfig) -> Iterator[str]:
    gpus, processes = config.gpus, config.processes
    if not 0 <= gpus <= MOST_PROCESSES:
        yield f"gpus must be in [0, {MOST_PROCESSES}], is {gpus}"
    if processes is not None and not 1 <= processes <= MOST_PROCESSES:
        yield f"processes must be in [1, {MOST_PROCESSES}], is {processes}"
    if processes is not None and gpus and processes != gpus:
        yield f"processes must equal gpus, one each: they are {processes} and {gpus}"
    if config.hyperparameters.fsdp:
        if config.method is not Method.FULL:
            yield f"hyperparameters.fsdp is for method full, not {config.method}: an adapter's base is not sharded"
        if (processes or gpus) < 2:
            yield "hyperparameters.fsdp needs at least 2 processes to shard over"
        if config.hyperparameters.optimizer not in SHARDED_OPTIMIZERS:
            yield (
                f"hyperparameters.fsdp needs optimizer {' or '.join(SHARDED_OPTIMIZERS)}: the state of "
                f"{config.hyperparameters.optimizer} cannot be sharded and taken up again"
            )


def _recovery_problems(recovery: Recovery) -> Iterator[str]:
    if not 0 <= recovery.loss_sigmas < math.inf:
        yield f"recovery.loss_sigmas must not be negative, is {recovery.loss_sigmas}"
    if recovery.patience < 1:
        yield f"recovery.patience must be at least 1, is {recovery.patience}"


def _lora_problems(lora: Lora) -> Iterator[str]:
    if lora.rank < 1 or lora.alpha < 1:
        yield f"lora.rank and lora.alpha must be at least 1, are {lora.rank} and {lora.alpha}"
    if not 0 <= lora.dropout < 1:
        yield f"lora.dropout must be in [0, 1), is {lora.dropout}"
    ratio = lora.loraplus_lr_ratio
    if ratio is not None and not (ratio > 0 and math.isfinite(ratio)):
        yield f"lora.loraplus_lr_ratio must be above 0, is {ratio}"
    if not lora.target_modules:
        yield "lora.target_modules is empty; use all-linear or name layers such as q_proj"
    if "all-linear" in lora.target_modules and len(lora.target_modules) > 1:
        yield "lora.target_modules: all-linear stands alone"
    if "lm_head" in lora.target_modules:
        yield "lora.target_modules: an adapter on lm_head can be neither trained nor served; leave it out"
