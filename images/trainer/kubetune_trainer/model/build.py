"""A trl.SFTTrainer for one job. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft.optimizers import create_loraplus_optimizer
from transformers import PrinterCallback
from trl import SFTConfig

from kubetune_contract import Hyperparameters, Method, TrainConfig
from kubetune_trainer.data.encoding import Tokenised
from kubetune_trainer.data.packing import Collator, pack
from kubetune_trainer.loop.validation import PackedTrainer, PlainTrainer

from .adapter import adapter_config, refused
from .device import Device
from .sft import loraplus_arguments, sft_arguments
from .sharding import shard_on


@dataclass(frozen=True)
class Material:
    """What a trainer is made from."""

    tokenizer: Any
    model: Any
    train: Tokenised
    validation: Tokenised | None


def build_trainer(config: TrainConfig, device: Device, material: Material, output_dir: Path) -> Any:
    """Ready for ``train()``; checkpoints are written below ``output_dir``.

    Raises KubeTuneError (BAD_CONFIG): UnknownTargetModules, or InvalidConfig for an adapter that peft cannot make.
    """
    arguments = SFTConfig(
        **sft_arguments(config, device, str(output_dir), has_validation=material.validation is not None)
    )
    packing = config.hyperparameters.packing
    adapter = adapter_config(config, material.model)
    if config.hyperparameters.fsdp:
        shard_on(device)
    try:
        trainer = (PackedTrainer if packing else PlainTrainer)(
            model=material.model,
            args=arguments,
            train_dataset=_dataset(material.train, config.hyperparameters),
            eval_dataset=_dataset(material.validation, config.hyperparameters) if material.validation else None,
            data_collator=Collator(material.tokenizer.pad_token_id) if packing else None,
            processing_class=material.tokenizer,
            peft_config=adapter,
        )
    except ValueError as error:
        if adapter is None:
            raise
        raise refused(config, material.model, error) from error
    if config.method is Method.QLORA:
        # TRL makes them bfloat16, where small updates are lost and which loss scaling on older cards cannot handle.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
    loraplus = loraplus_arguments(config)
    if loraplus:
        kind, settings = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
        trainer.optimizer = create_loraplus_optimizer(trainer.model, kind, **{**settings, **loraplus})
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dataset(data: Tokenised, hyper: Hyperparameters) -> Dataset:
    rows = Dataset.from_dict(data.columns)
    return pack(rows, hyper.max_sequence_length) if hyper.packing else rows
