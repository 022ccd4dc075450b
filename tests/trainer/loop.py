"""The trainer's own loop in this process, as ``learn`` builds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubetune_contract import Dataset, Hyperparameters, Lora, ObjectStore, Owner, TrainConfig
from kubetune_shared.rows import Row
from kubetune_trainer.data.tokenizer import encoder_for, load_tokenizer
from kubetune_trainer.model.build import Material, build_trainer
from kubetune_trainer.model.device import Device
from kubetune_trainer.model.loading import load_model

CPU = Device("cpu", "float32")
HYPER = Hyperparameters(
    max_steps=12,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    max_sequence_length=64,
    learning_rate=1e-2,
    logging_steps=1,
    save_steps=5,
    save_minutes=0.0,
)


def config(**changes: Any) -> TrainConfig:
    """A LoRA job with dropout, changed in its hyper-parameters."""
    return TrainConfig(
        1,
        Owner("team", "loop", "uid"),
        "s3://models/tiny",
        Dataset("s3://data/x"),
        "s3://out/uid",
        ObjectStore(),
        lora=Lora(rank=4, alpha=8, dropout=0.1),
        hyperparameters=dataclasses.replace(HYPER, **changes),
    )


def trainer(wanted: TrainConfig, base: Path, folder: Path, texts: Sequence[str]) -> Any:
    """Ready for ``train()``; transformers itself saves every ``save_steps`` into ``folder``."""
    tokenizer = load_tokenizer(base, wanted.base_model)
    encoder = encoder_for(tokenizer, wanted.hyperparameters)
    data = encoder.encode((Row(line, text=text) for line, text in enumerate(texts, 1)), "training")
    made = build_trainer(wanted, CPU, Material(tokenizer, load_model(wanted, base, CPU), data, None), folder)
    made.args.save_strategy, made.args.save_steps = "steps", wanted.hyperparameters.save_steps
    return made
