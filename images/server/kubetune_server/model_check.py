"""Whether vLLM can serve a model, read from its ``config.json``. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.intake.quantisation import quantisation_of
from kubetune_shared.intake.weights import misleads

CPU_HEAD_DIMENSIONS = frozenset({32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512})
"""What the CPU build's attention computes with. It loads others too, and then fails at every request."""


def check_servable(config: Mapping[str, Any], uri: str, gpus: int) -> None:
    """Raises KubeTuneError (BAD_CONFIG, ModelNotServable)."""
    quantised = quantisation_of(config)
    if quantised and quantised.served:
        raise _refusal(uri, *quantised.served.split("; ", 1))
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


def check_weights(present: Collection[str], index: Mapping[str, Any] | None, uri: str) -> None:
    """Judges a folder by the names of its files and its parsed index: what was fetched has one copy of the weights,
    what is mounted may have more.

    Raises KubeTuneError (BAD_CONFIG, ModelNotServable).
    """
    problem = misleads(present, index)
    if problem:
        raise _refusal(uri, *problem.split("; ", 1))


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
