"""A model's dimensions, counted on the model itself: built without weights, with peft's own adapter. Imports torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert

from kubetune_contract import Method, TrainConfig
from kubetune_shared.classes import towers
from kubetune_shared.intake.loading import on_meta
from kubetune_trainer.model.adapter import adapted, check_mergeable

from .shapes import Adapter, ModelShape, ShapeError

_MAGNITUDE = "lora_magnitude_vector"


def count(config: TrainConfig, folder: Path) -> ModelShape:
    """The model whose ``config.json`` is in ``folder``.

    Raises ShapeError when transformers cannot build it or its weights are quantised already, so that their sizes are
    not those of the layers; KubeTuneError as ``adapted`` and ``check_mergeable``.
    """
    try:
        model = on_meta(folder)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError) as error:
        raise ShapeError(str(error).partition("\n")[0] or type(error).__name__) from error
    if getattr(model.config, "quantization_config", None):
        raise ShapeError("its weights are quantised already")
    shape = _dimensions(model)
    return _replace_adapter(shape, config, adapted(config, model))


def _replace_adapter(shape: ModelShape, config: TrainConfig, model: Any) -> ModelShape:
    if config.method is Method.FULL:
        return shape
    check_mergeable(config, model)
    trained = {name: weight.numel() for name, weight in model.named_parameters() if weight.requires_grad}
    magnitudes = sum(size for name, size in trained.items() if _MAGNITUDE in name)
    per_rank = (sum(trained.values()) - magnitudes) // config.lora.rank
    experts = bool(model.peft_config["default"].target_parameters)
    return dataclasses.replace(shape, adapter=Adapter(per_rank, magnitudes), adapts_experts=experts)


def _dimensions(model: Any) -> ModelShape:
    text = model.config.get_text_config()
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    kept = set(get_keys_to_not_convert(model))
    linears = [
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and name not in kept
    ]
    hidden = int(text.hidden_size)
    return ModelShape(
        parameters=_size(model),
        hidden=hidden,
        ffn=_width(text, hidden),
        layers=int(text.num_hidden_layers),
        heads=int(getattr(text, "num_attention_heads", 0) or 1),
        vocabulary=int(embedding.shape[0]),
        linear_parameters=sum(linears),
        largest_linear=max(linears, default=0),
        embedding=embedding.numel(),
        tied=head is not None and head.weight is embedding,
        towers=sum(_size(model.get_submodule(name)) for name in towers(model)),
        idle_experts=_idle_experts(model, text),
    )


def _size(module: Any) -> int:
    size: int = sum(weight.numel() for weight in module.parameters())
    return size


def _width(text: Any, hidden: int) -> int:
    used, experts = getattr(text, "num_experts_per_tok", None), getattr(text, "moe_intermediate_size", None)
    dense = getattr(text, "intermediate_size", None) or 4 * hidden
    return int(used * (experts or dense) if used and _experts(text) else dense)


def _experts(text: Any) -> int:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((int(getattr(text, name)) for name in names if getattr(text, name, None)), 0)


def _idle_experts(model: Any, text: Any) -> int:
    number, used = _experts(text), int(getattr(text, "num_experts_per_tok", None) or 0)
    if not number or not used:
        return 0
    held: int = sum(weight.numel() for name, weight in model.named_parameters() if "experts" in name.split("."))
    return held * max(0, number - used) // number
