"""Scratch space of a run, and the size of its checkpoints. Pure."""

from __future__ import annotations

from kubetune_contract import Method, TrainConfig

from .estimate import trained_parameters
from .shapes import ModelShape

LOCAL_CHECKPOINTS = 3
"""The one being written, the one being uploaded, and the one restored at the start."""
FIXED = 64 << 20
"""Tokenizer, state of the loop, logs and data."""


def checkpoint_bytes(config: TrainConfig, shape: ModelShape) -> int:
    """Trained weights in 32 bits and the optimizer's state."""
    trained = trained_parameters(shape, config.method, config.lora)
    optimizer = config.hyperparameters.optimizer
    moments = 0 if optimizer in {"sgd", "adafactor"} else 2 if "8bit" in optimizer else 8
    return trained * (4 + moments) + (1 << 20)


def disk_bytes(config: TrainConfig, shape: ModelShape, download_bytes: int) -> int:
    """Base model as downloaded, local checkpoints, the result and its exports."""
    hyper = config.hyperparameters
    saves = bool(hyper.save_steps or hyper.save_minutes)
    checkpoints = checkpoint_bytes(config, shape) * LOCAL_CHECKPOINTS if saves else 0
    stored = shape.parameters * 2
    result = stored if config.method is Method.FULL else trained_parameters(shape, config.method, config.lora) * 4
    exports = 0.0
    if config.export.merged or config.export.gguf:
        exports += stored if config.method is not Method.FULL else 0
    if config.export.gguf:
        exports += shape.parameters * (1.07 if config.export.gguf == "q8_0" else 2)
    return int(FIXED + download_bytes + checkpoints + result + exports)
