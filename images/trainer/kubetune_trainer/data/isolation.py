"""Which models keep packed rows apart. Pure.

Rows in one sequence are told apart by positions that start again at 0, and by nothing else. That holds where attention
is all that a token sees others by, and where places come of those positions: rotary or learned. State that runs along
the sequence (recurrent layers, state spaces, convolutions) and distances within it (ALiBi) know nothing of them, and
each row would learn from its neighbours. Some (gpt-oss) do not hand the positions to what makes their masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, Suggestion, TrainConfig

ISOLATING = frozenset(
    {
        "arcee",
        "cohere",
        "cohere2",
        "ernie4_5",
        "exaone4",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3_text",
        "glm",
        "glm4",
        "gpt2",
        "gpt_neox",
        "granite",
        "granitemoe",
        "llama",
        "mistral",
        "mixtral",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
        "phi",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)
"""``model_type`` of the families that were measured (tests/trainer/test_isolation.py); all others are not packed."""


def isolates(model: Mapping[str, Any]) -> bool:
    """Whether rows can be packed for the model of this ``config.json``; False for families that nobody has measured."""
    return model.get("model_type") in ISOLATING


def unpacked_where_rows_would_leak(config: TrainConfig, model: Mapping[str, Any]) -> TrainConfig:
    """``config`` as it is trained: without packing that a preset has put in and the model does not allow.

    Raises KubeTuneError (BAD_CONFIG, InvalidConfig) where it is not a preset that asks for it.
    """
    if not config.hyperparameters.packing or isolates(model):
        return config
    if not config.packing_optional:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "InvalidConfig",
            f"hyperparameters.packing: {config.base_model} is of type {model.get('model_type')}, and {_WHY}; leave "
            "packing out (or set it to false): each row is then a sequence of its own",
        )
    return dataclasses.replace(config, hyperparameters=dataclasses.replace(config.hyperparameters, packing=False))


def not_packed(config: TrainConfig, model: Mapping[str, Any]) -> Suggestion | None:
    """NotPacked where ``config`` has the packing of a preset that was left out."""
    if not config.hyperparameters.packing or isolates(model):
        return None
    return Suggestion(
        "NotPacked",
        f"the preset packs rows, but the base is of type {model.get('model_type')}, and {_WHY}: each row is a sequence "
        "of its own. Set hyperparameters.packing: false to say so, or take another base for speed with short rows",
    )


_WHY = "only where attention alone connects tokens (and that was measured) do packed rows not learn from each other"
