"""The model from a local folder, ready for the trainer. Imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from kubetune_contract import Method, TrainConfig

from .device import Device
from .sft import base_dtype, quantization_arguments
from .tokenizer import unreadable


def load_model(config: TrainConfig, path: Path, device: Device) -> Any:
    """The base model in the precision its method needs, on the device.

    Raises KubeTuneError (BAD_DATA, ModelDamaged) when transformers cannot read it.
    """
    arguments: dict[str, Any] = {"dtype": getattr(torch, base_dtype(config.method, device))}
    if config.method is Method.QLORA:
        arguments["quantization_config"] = BitsAndBytesConfig(**quantization_arguments(device))
    if device.kind == "cuda":
        arguments["device_map"] = {"": 0}
    try:
        model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False, use_safetensors=True, **arguments)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(config.base_model, "model", error) from error
    model.config.use_cache = False
    return model


def stored_dtype(path: Path) -> Any:
    """The precision the model's own files have, as its ``config.json`` says; float32 where it is silent."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = getattr(torch, name.removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def linear_layers(model: Any) -> list[str]:
    """Names an adapter may be put on, without their place in the model, for messages."""
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return sorted(names - {"lm_head"})


def all_finite(model: Any) -> bool:
    """False when a trained weight is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad)
