"""A trainer built by our own code in this process, for tests of methods that need no store and no commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from kubetune_contract import Dataset, Hyperparameters, Lora, ObjectStore, Owner, TrainConfig
from kubetune_shared.rows import Row
from kubetune_trainer.data.tokenizer import encoder_for, load_tokenizer
from kubetune_trainer.model.build import Material, build_trainer
from kubetune_trainer.model.device import Device
from kubetune_trainer.model.loading import load_model

CPU = Device("cpu", "float32")
ROWS = [Row(n, prompt=f"say {n % 8} =", completion=f" hello {n % 8}") for n in range(64)]


def config(lora: dict[str, Any] | None = None, hyper: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    """A configuration of eight quick steps."""
    settings = {"max_steps": 8, "max_sequence_length": 64, "learning_rate": 1e-2, "logging_steps": 1}
    base = TrainConfig(
        schema=1,
        owner=Owner("team", "demo", "uid"),
        base_model="s3://models/tiny",
        dataset=Dataset("s3://data/x"),
        output="s3://out/uid",
        store=ObjectStore(),
        lora=Lora(**{"rank": 4, "alpha": 8, **(lora or {})}),
        hyperparameters=Hyperparameters(**{**settings, **(hyper or {})}),
    )
    return dataclasses.replace(base, **changes)


def trainer_for(config: TrainConfig, base: Path, folder: Path, rows: list[Row] | None = None) -> Any:
    """Ready for ``train()``."""
    tokenizer = load_tokenizer(base, config.base_model)
    data = encoder_for(tokenizer, config.hyperparameters).encode(rows or ROWS, "training")
    model = load_model(config, base, CPU)
    return build_trainer(config, CPU, Material(tokenizer, model, data, None), folder)


def losses(trainer: Any) -> list[float]:
    """As logged, step by step."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def trained(model: Any) -> dict[str, Any]:
    """Copies of the trained weights by name."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


class SaveAndStop(TrainerCallback):  # type: ignore[misc]
    """Leaves a checkpoint after a step and ends there, as a pod that is taken away does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            control.should_save = True
            control.should_training_stop = True
