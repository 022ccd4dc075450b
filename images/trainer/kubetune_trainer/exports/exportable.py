"""Which exports a base model allows, told from its small files alone, so that it is known before training. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig, TrainSummary

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""transformers' class -> llama.cpp's architecture."""
ROPE_TYPES = ("default", "linear", "llama3", "yarn")
QUANTISATIONS = ("f16", "bf16", "q8_0")

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {_LLAMA3: "llama-bpe", _LLAMA3.replace("{1,3}", ""): "qwen2", _TEKKEN: "tekken"}
"""How a text is cut before BPE -> llama.cpp's name for it (``tokenizer.ggml.pre``)."""


def wanted(config: TrainConfig) -> tuple[str, ...]:
    """Kinds of the artifacts to publish beside the result. A fully tuned model needs no merging."""
    merged = config.export.merged and config.method is not Method.FULL
    return (*(("merged",) if merged else ()), *(("gguf",) if config.export.gguf else ()))


def missing(config: TrainConfig, summary: TrainSummary) -> tuple[str, ...]:
    """Kinds that are wanted and not published with this result yet."""
    done = {artifact.kind for artifact in summary.exports}
    return tuple(kind for kind in wanted(config) if kind not in done)


def check_exports(config: TrainConfig, folder: Path) -> None:
    """Raises KubeTuneError (BAD_CONFIG, CannotExport) when the base model in ``folder`` allows not all that is wanted.

    Needs ``config.json`` and ``tokenizer.json`` only.
    """
    kinds = wanted(config)
    settings = _read(folder / "config.json")
    if kinds and config.method is not Method.FULL and settings.get("quantization_config"):
        raise cannot_export(
            f"{config.base_model} cannot be merged with an adapter: its weights are quantised already; name the "
            "unquantised model as baseModel (method qlora quantises it by itself), or leave out export"
        )
    if "gguf" in kinds:
        check_gguf(folder, config.base_model)


def check_gguf(folder: Path, uri: str) -> None:
    """Raises KubeTuneError (BAD_CONFIG, CannotExport) when the model in ``folder`` cannot be written as GGUF."""
    problem = gguf_problem(_read(folder / "config.json"), _read(folder / "tokenizer.json"))
    if problem:
        raise cannot_export(
            f"{uri} cannot be exported as GGUF: {problem}. Leave out export.gguf, or take another base model"
        )


def cannot_export(message: str) -> KubeTuneError:
    """The error for an export that this model does not allow."""
    return KubeTuneError(ExitCode.BAD_CONFIG, "CannotExport", message)


def gguf_problem(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str | None:
    """Why a model with these files cannot be converted; None when it can."""
    names = config.get("architectures") or ["none"]
    if names[0] not in ARCHITECTURES:
        return f"its architecture is {names[0]}; supported are {', '.join(ARCHITECTURES)}"
    if config.get("quantization_config"):
        return "its weights are quantised already; name the unquantised model as the base"
    rope = rope_settings(config).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        return f"its rotary embedding is of type {rope}; supported are {', '.join(ROPE_TYPES)}"
    if not tokenizer:
        return "it has no tokenizer.json"
    if tokenizer_kind(tokenizer) is None:
        return (
            "llama.cpp knows no tokenizer that cuts text as this one does; supported are SentencePiece BPE and the "
            "byte-level BPE of GPT-2, SmolLM, Llama 3, Qwen 2 and 3, and Mistral Nemo"
        )
    return None


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary embedding's settings, whichever release of transformers wrote them."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if "type" in found:
        found.setdefault("rope_type", found["type"])
    found.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    return found


def tokenizer_kind(tokenizer: Mapping[str, Any]) -> tuple[str, str] | None:
    """``tokenizer.ggml.model`` and ``tokenizer.ggml.pre`` of a parsed tokenizer.json; None when llama.cpp has none."""
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE":
        return None
    if model.get("byte_fallback"):
        return "llama", "default"
    steps = _steps(tokenizer.get("pre_tokenizer"))
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    return _byte_level(steps[:-1], by_itself=steps[-1].get("use_regex", True))


def _byte_level(before: list[dict[str, Any]], *, by_itself: bool) -> tuple[str, str] | None:
    if not before:
        return ("gpt2", "gpt-2") if by_itself else None
    if len(before) > 1:
        return None
    (step,) = before
    if step.get("type") == "Digits" and step.get("individual_digits") and by_itself:
        return "gpt2", "smollm"
    if step.get("type") == "Split" and not by_itself and not step.get("invert"):
        name = _PATTERNS.get((step.get("pattern") or {}).get("Regex", ""))
        return ("gpt2", name) if name else None
    return None


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if not pre_tokenizer:
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return list(pre_tokenizer.get("pretokenizers") or [])
    return [dict(pre_tokenizer)]


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
