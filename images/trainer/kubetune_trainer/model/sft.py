"""From our configuration to TRL's, peft's and bitsandbytes' arguments; the only module that knows their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kubetune_contract import Hyperparameters, Lora, Method, TrainConfig

from .device import Device

_ALL_STEPS = 1 - 1e-9


def sft_arguments(config: TrainConfig, device: Device, output_dir: str, *, has_validation: bool) -> dict[str, Any]:
    """Keyword arguments of ``trl.SFTConfig``.

    What differs from its defaults on purpose: no NaN filter (it logs NaN as 0.0), precision by device (bf16 is TRL's
    default even where the card cannot), gradient checkpointing only when asked for, nothing sent anywhere.
    """
    hyper = config.hyperparameters
    return {
        "output_dir": output_dir,
        **_optimisation(hyper),
        **_data(hyper),
        **_processes(hyper),
        "bf16": device.precision == "bfloat16",
        "fp16": device.precision == "float16",
        "use_cpu": device.kind == "cpu",
        "dataloader_pin_memory": device.kind == "cuda",
        "gradient_checkpointing": hyper.gradient_checkpointing,
        "seed": hyper.seed,
        "data_seed": hyper.seed,
        "logging_strategy": "steps",
        "logging_steps": hyper.logging_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if has_validation and hyper.eval_steps else "no",
        "eval_steps": hyper.eval_steps if has_validation else None,
        "prediction_loss_only": True,
        # Checkpoints are asked for by the callback in checkpoints/saving.py, which also knows minutes.
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def _optimisation(hyper: Hyperparameters) -> dict[str, Any]:
    return {
        "learning_rate": hyper.learning_rate,
        "num_train_epochs": hyper.num_train_epochs,
        "max_steps": hyper.max_steps if hyper.max_steps is not None else -1,
        "per_device_train_batch_size": hyper.per_device_train_batch_size,
        "per_device_eval_batch_size": hyper.per_device_train_batch_size,
        "gradient_accumulation_steps": hyper.gradient_accumulation_steps,
        # transformers 5: a float below 1 is a share of all steps; from 1 on it would be a number of steps.
        "warmup_steps": min(hyper.warmup_ratio, _ALL_STEPS),
        "weight_decay": hyper.weight_decay,
        "lr_scheduler_type": hyper.lr_scheduler_type,
        "optim": hyper.optimizer,
        "max_grad_norm": hyper.max_grad_norm,
        "neftune_noise_alpha": hyper.neftune_noise_alpha,
    }


def _data(hyper: Hyperparameters) -> dict[str, Any]:
    return {
        "max_length": hyper.max_sequence_length,
        # Rows come tokenised, masked and cut (data/encoding.py), and packed where that is asked for (data/packing.py).
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }


def _processes(hyper: Hyperparameters) -> dict[str, Any]:
    """Several processes: a copy of the model in each (DDP), or shards of it (FSDP2)."""
    # Every trained weight has its part in every loss; looking for others would cost a pass over the graph.
    found: dict[str, Any] = {"ddp_find_unused_parameters": False}
    if hyper.fsdp:
        # Whole weights and optimizer state in a checkpoint, written by the first process.
        sharding = {"version": 2, "state_dict_type": "FULL_STATE_DICT", "cpu_ram_efficient_loading": True}
        found |= {"fsdp": True, "fsdp_config": sharding}
    return found


def lora_arguments(lora: Lora, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """Keyword arguments of ``peft.LoraConfig``; nothing below the modules ``left_out`` gets an adapter."""
    targets: str | list[str] = list(lora.target_modules)
    excluded = "|".join(map(re.escape, left_out))
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": "all-linear" if targets == ["all-linear"] else targets,
        "exclude_modules": rf"({excluded})(\..*)?" if excluded else None,
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }


def loraplus_arguments(config: TrainConfig) -> dict[str, Any] | None:
    """Keyword arguments of ``peft.optimizers.create_loraplus_optimizer``; None for one learning rate for all."""
    if config.method is Method.FULL or config.lora.loraplus_lr_ratio is None:
        return None
    return {
        "lr": config.hyperparameters.learning_rate,
        "loraplus_lr_ratio": config.lora.loraplus_lr_ratio,
        "loraplus_weight_decay": config.hyperparameters.weight_decay,
    }


def quantization_arguments(device: Device, keep: Sequence[str] = ()) -> dict[str, Any]:
    """Keyword arguments of ``transformers.BitsAndBytesConfig``: NF4 with double quantisation (arXiv 2305.14314).

    ``keep`` are modules that are not quantised; empty means the library's own choice, the output layer.
    """
    return {
        **({"llm_int8_skip_modules": list(keep)} if keep else {}),
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": device.precision,
    }


def base_dtype(method: Method, device: Device) -> str:
    """The precision the base's weights are loaded in.

    Full fine-tuning keeps float32 weights under autocast: updates smaller than a bfloat16 step would be lost.
    """
    return "float32" if method is Method.FULL else device.precision
