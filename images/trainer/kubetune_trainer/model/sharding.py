"""Weights that are sharded over several processes (FSDP2), and whole again. Imports torch."""

from __future__ import annotations

import os
from typing import Any

import torch

from kubetune_shared.classes import auto_class
from kubetune_trainer.internals import shard_on_cpu

from .device import Device


def load_once() -> None:
    """Called before the model is loaded: only the first process reads its weights, and the others get their shards."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}


def shard_on(device: Device) -> None:
    """Called once the training's arguments are made, before its trainer is."""
    if device.kind == "cpu":
        shard_on_cpu()


def whole_model(trainer: Any) -> Any:
    """The trained model as one that can be saved: where it is sharded, gathered in the first process's main memory.

    All processes must call this; the others get None.
    """
    if not trainer.is_fsdp_enabled:
        return trainer.model
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return None
    with torch.device("meta"):
        model = auto_class(trainer.model.config).from_config(trainer.model.config)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    model.generation_config = trainer.model.generation_config
    return model
