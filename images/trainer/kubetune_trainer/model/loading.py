"""The model from a local folder, ready for the trainer. Imports torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoConfig, BitsAndBytesConfig, GenerationConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig
from kubetune_shared.classes import auto_class, towers
from kubetune_shared.intake.base import check_complete
from kubetune_shared.intake.loading import compared, on_meta
from kubetune_shared.intake.quantisation import quantisation_of
from kubetune_trainer.data.tokenizer import unreadable
from kubetune_trainer.processes import ranks

from .capability import check_quantisation
from .device import Device
from .sft import base_dtype, quantization_arguments
from .sharding import load_once

BLOCK = 64
"""Weights that share a scale in bitsandbytes' NF4."""

log = logging.getLogger(__name__)


def load_model(config: TrainConfig, path: Path, device: Device) -> Any:
    """The base model in the precision its method needs, on the device.

    Raises KubeTuneError: BAD_DATA (ModelDamaged) when transformers cannot read it, BAD_CONFIG (CannotQuantise,
    GPUTooOld).
    """
    check_quantisation(device.capability, config)
    arguments: dict[str, Any] = {"dtype": getattr(torch, base_dtype(config.method, device))}
    if device.kind == "cuda" and not config.hyperparameters.fsdp:
        arguments["device_map"] = {"": device.index}
    if config.hyperparameters.fsdp:
        load_once()
    try:
        if config.method is Method.QLORA:
            keep = unquantised(path, config.base_model) if device.kind == "cpu" else []
            arguments["quantization_config"] = BitsAndBytesConfig(**quantization_arguments(device, keep))
        kind = auto_class(AutoConfig.from_pretrained(path, trust_remote_code=False))
        model, found = kind.from_pretrained(
            path,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # Told below, in the words of the preflight.
            ignore_mismatched_sizes=True,
            **arguments,
        )
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(config.base_model, "model", error) from error
    if quantisation_of(_settings(path)) is None:
        report = compared(found)
        check_complete(report, report.unexpected, config.base_model)
    model.config.use_cache = False
    text = model.config.get_text_config()
    if hasattr(text, "num_local_experts") and not hasattr(text, "num_experts"):
        # TRL asks every model with routers for it.
        text.num_experts = text.num_local_experts
    # transformers loads any and refuses to save some, such as a temperature without sampling; the base's own file is
    # what is published (publishing/publish.py).
    model.generation_config = GenerationConfig()
    if config.method is Method.FULL:
        for name in towers(model):
            model.get_submodule(name).requires_grad_(False)
    if config.method is Method.QLORA and device.kind == "cpu":
        keep_differentiable(model)
    return model


def keep_differentiable(model: Any) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights at the first evaluation on a CPU with AVX512_BF16.

    Nothing unpacks them when training goes on, and the product of packed weights has no gradient: version 0.50 says so
    in a warning only. It also wants a multiple of 32 outputs.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def unquantised(path: Path, uri: str) -> list[str]:
    """Modules that must not be quantised on a CPU; empty when the library's own choice will do.

    bitsandbytes 0.50 takes a wrong scale there for rows that are no whole number of blocks: weights come back with
    two to five times the error of NF4, without a word. Such layers stay as they are.
    Raises KubeTuneError (BAD_CONFIG, CannotQuantise) when that leaves nothing to quantise.
    """
    model = on_meta(path)
    own = get_keys_to_not_convert(model)
    widths = {
        name: module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in own
    }
    narrow = [name for name, width in widths.items() if width % BLOCK]
    if not narrow:
        return []
    example = f"{narrow[0]} has rows of {widths[narrow[0]]}"
    if len(narrow) == len(widths):
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "CannotQuantise",
            f"no layer of {uri} can be quantised on a CPU: rows must be a multiple of {BLOCK} weights, {example}; use "
            "method lora",
        )
    log.warning("%d of %d layers stay unquantised on this CPU: %s", len(narrow), len(widths), example)
    return [*own, *narrow]


def stored_dtype(path: Path) -> Any:
    """The precision the model's own files have, as its ``config.json`` says; float32 where it is silent."""
    config = _settings(path)
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = getattr(torch, name.removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _settings(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return found


def linear_layers(model: Any) -> list[str]:
    """Names an adapter may be put on, without their place in the model, for messages."""
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
    }
    return sorted(names - {"lm_head"})


def all_finite(model: Any) -> bool:
    """False when a trained weight is NaN or infinite, in any process; all must ask."""
    trained = [ranks.local(p) for p in model.parameters() if p.requires_grad]
    lost = any(not bool(torch.isfinite(p).all()) for p in trained)
    return not ranks.agreed(lost)[0]
