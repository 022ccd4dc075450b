"""Whether vLLM can serve a model, read from its ``config.json``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

_PLUGIN_ONLY = frozenset({"bitsandbytes", "gguf"})
"""Quantisations that left vLLM's core for plugins (0.24 and 0.28) which this image does not carry."""

CPU_HEAD_DIMENSIONS = frozenset({32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512})
"""What the CPU build's attention computes with. It loads others too, and then fails at every request."""


def check_servable(config: Mapping[str, Any], uri: str, gpus: int) -> None:
    """Raises KubeTuneError (BAD_CONFIG, ModelNotServable)."""
    method = str((config.get("quantization_config") or {}).get("quant_method", "")).lower()
    if method in _PLUGIN_ONLY:
        raise _refusal(
            uri,
            f"it is quantised with {method}, which vLLM no longer loads",
            "serve the unquantised model or an AWQ, GPTQ or FP8 version of it",
        )
    if not config.get("architectures"):
        raise _refusal(uri, "its config.json names no architectures", "save it again with save_pretrained")
    dimension = head_dimension(config)
    if not gpus and dimension and dimension not in CPU_HEAD_DIMENSIONS:
        raise _refusal(
            uri,
            f"its attention heads have {dimension} dimensions, which vLLM's CPU build cannot compute with (it can with "
            f"{', '.join(map(str, sorted(CPU_HEAD_DIMENSIONS)))})",
            "serve it on a GPU, or use a model with other heads",
        )


def head_dimension(config: Mapping[str, Any]) -> int | None:
    """Size of an attention head, where the configuration tells."""
    text = config.get("text_config") or config
    stated, hidden, heads = (text.get(name) for name in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(stated, int):
        return stated
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None


def _refusal(uri: str, problem: str, remedy: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_CONFIG, "ModelNotServable", f"model {uri} cannot be served by vLLM: {problem}; {remedy}."
    )
