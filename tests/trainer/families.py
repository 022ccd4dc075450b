"""Tiny random models of the real classes of the families people tune, each of some hundred thousand weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers import AutoConfig, PreTrainedTokenizerBase

from kubetune_shared.classes import auto_class

from . import tiny

SEED = 3
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
_UNHEADED = {name: value for name, value in TEXT.items() if name != "head_dim"}
_VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


def _gemma3(ids: dict[str, Any]) -> Any:
    text = hf.Gemma3TextConfig(**TEXT, **ids, query_pre_attn_scalar=16, sliding_window=32)
    vision = {**_VISION, "num_hidden_layers": 2, "image_size": 28, "patch_size": 14}
    return hf.Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)


def _qwen3_5(ids: dict[str, Any]) -> Any:
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [1, 1, 0],
        "mrope_interleaved": True,
        "partial_rotary_factor": 0.25,
    }
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    sizes = {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    layers = ["linear_attention", "full_attention"]
    text = {**TEXT, **ids, **heads, **sizes, "layer_types": layers, "rope_parameters": rope}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    vision |= {"patch_size": 4, "num_position_embeddings": 16}
    return hf.Qwen3_5Config(text_config=text, vision_config=vision)


def _granite_hybrid(ids: dict[str, Any]) -> Any:
    return hf.GraniteMoeHybridConfig(
        **_UNHEADED,
        **ids,
        shared_intermediate_size=64,
        num_local_experts=4,
        num_experts_per_tok=2,
        layer_types=["mamba", "attention"],
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_n_groups=1,
    )


def _gpt_oss(ids: dict[str, Any]) -> Any:
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    return hf.GptOssConfig(**TEXT, **ids, **experts, sliding_window=32, rope_parameters=rope)


CONFIGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "llama": lambda ids: hf.LlamaConfig(**TEXT, **ids),
    "llama-tied": lambda ids: hf.LlamaConfig(**TEXT, **ids, tie_word_embeddings=True),
    "mistral": lambda ids: hf.MistralConfig(**TEXT, **ids, sliding_window=32),
    "qwen2": lambda ids: hf.Qwen2Config(**TEXT, **ids),
    "qwen3": lambda ids: hf.Qwen3Config(**TEXT, **ids, tie_word_embeddings=True),
    "qwen3_moe": lambda ids: hf.Qwen3MoeConfig(
        **TEXT, **ids, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64
    ),
    "qwen3_5": _qwen3_5,
    "gemma2": lambda ids: hf.Gemma2Config(**TEXT, **ids, query_pre_attn_scalar=16, sliding_window=32),
    "gemma3": _gemma3,
    "gemma3_text": lambda ids: hf.Gemma3TextConfig(**TEXT, **ids, query_pre_attn_scalar=16, sliding_window=32),
    "phi3": lambda ids: hf.Phi3Config(**_UNHEADED, **ids),
    "gpt2": lambda ids: hf.GPT2Config(n_embd=64, n_head=4, n_layer=2, n_positions=256, **ids),
    "mixtral": lambda ids: hf.MixtralConfig(**TEXT, **ids, num_local_experts=4, num_experts_per_tok=2),
    "gpt_oss": _gpt_oss,
    "granitemoehybrid": _granite_hybrid,
    "smollm3": lambda ids: hf.SmolLM3Config(**_UNHEADED, **ids),
}
"""Family (its model_type; ``-tied`` with one matrix for both ends) -> its configuration for a tokenizer's ids."""
FAMILIES = list(CONFIGS)


def build(family: str, folder: Path, dtype: str = "float32") -> Path:
    """Writes model and tokenizer to ``folder``, as the family's own repositories have them."""
    tiny.build(folder)
    tokenizer: PreTrainedTokenizerBase = hf.AutoTokenizer.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    config = CONFIGS[family](
        {
            "vocab_size": len(tokenizer) + 2,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
        }
    )
    config.dtype = dtype
    model = randomised(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def randomised(config: Any) -> Any:
    """A model whose logits differ from token to token, which those of a freshly made one hardly do."""
    config.architectures = [_class_name(config)]
    torch.manual_seed(SEED)
    model = auto_class(config).from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def load(folder: Path) -> Any:
    """In 32 bits."""
    kind = auto_class(AutoConfig.from_pretrained(folder))
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def _class_name(config: Any) -> str:
    """That of the files: wrappers are published whole, with their towers."""
    for mapping in (hf.AutoModelForImageTextToText._model_mapping, hf.AutoModelForCausalLM._model_mapping):
        if type(config) in mapping:
            name: str = mapping[type(config)].__name__
            return name
    raise AssertionError(type(config))
