"""Whether vLLM can serve a model, read from its ``config.json``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

_PLUGIN_ONLY = frozenset({"bitsandbytes", "gguf"})
"""Quantisations that left vLLM's core for plugins (0.24 and 0.28) which this image does not carry."""


def check_servable(config: Mapping[str, Any], uri: str) -> None:
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


def _refusal(uri: str, problem: str, remedy: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_CONFIG, "ModelNotServable", f"model {uri} cannot be served by vLLM: {problem}; {remedy}."
    )
