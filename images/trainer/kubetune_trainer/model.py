"""Tokenizer and model from a local folder, ready for the trainer. Imports torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl.chat_template_utils import get_training_chat_template, is_chat_template_stop_token_trained

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig

from .data import Encoder
from .device import Device
from .sft import base_dtype, quantization_arguments

log = logging.getLogger(__name__)


def load_tokenizer(path: Path, uri: str) -> Any:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when transformers cannot read it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(uri, "tokenizer", error) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "ModelDamaged",
                f"the tokenizer of {uri} has neither an eos_token nor a pad_token; name one in tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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
        raise _unreadable(config.base_model, "model", error) from error
    model.config.use_cache = False
    return model


def stored_dtype(path: Path) -> Any:
    """The precision the model's own files have, as its ``config.json`` says; float32 where it is silent."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = getattr(torch, name.removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def encoder_for(tokenizer: Any, max_length: int) -> Encoder:
    """Chooses the chat template to train with: the tokenizer's own where it marks assistant turns, else TRL's."""
    own = tokenizer.chat_template
    if own is None:
        return Encoder(tokenizer, max_length)
    try:
        template = get_training_chat_template(tokenizer)
    except ValueError:
        # A template TRL does not know: assistant turns are found by rendering prefixes.
        return Encoder(tokenizer, max_length)
    if not is_chat_template_stop_token_trained(tokenizer, chat_template=template):
        log.warning("the chat template leaves the end of a turn out of the loss: the model may not learn to stop")
    return Encoder(tokenizer, max_length, template=template, marked=True)


def linear_layers(model: Any) -> list[str]:
    """Names an adapter may be put on, without their place in the model, for messages."""
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return sorted(names - {"lm_head"})


def all_finite(model: Any) -> bool:
    """False when a trained weight is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad)


def _unreadable(uri: str, what: str, error: Exception) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"the {what} of {uri} cannot be loaded: {error}")
