"""Layers an adapter is to be put on: found as peft finds them, and each wrong name told with what was meant."""

from __future__ import annotations

import pytest

from kubetune_contract import ExitCode
from kubetune_trainer.model.targets import missing_targets, unknown_targets

MODULES = [
    "model.embed_tokens",
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.v_proj",
    "model.layers.0.mlp.gate_proj",
    "lm_head",
]


@pytest.mark.walk("W10")
@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        (("all-linear",), []),
        (("q_proj", "v_proj"), []),
        (("gate_proj",), []),
        (("self_attn.q_proj",), []),
        (("layers.0.self_attn.q_proj",), []),
        (("model.layers.0.self_attn.q_proj",), []),
        (("q_prj", "v_proj"), ["q_prj"]),
        (("q_proj", "value", "key"), ["value", "key"]),
        (("proj",), ["proj"]),
        (("mlp.q_proj",), ["mlp.q_proj"]),
        (("layers.7.self_attn.q_proj",), ["layers.7.self_attn.q_proj"]),
        (("input_layernorm",), ["input_layernorm"]),
        (("Q_PROJ",), ["Q_PROJ"]),
        (("*_proj",), ["*_proj"]),
    ],
)
def test_which_are_not_there(wanted: tuple[str, ...], missing: list[str]) -> None:
    assert missing_targets(wanted, MODULES) == missing


@pytest.mark.walk("W10")
def test_the_refusal_names_what_was_meant_and_what_there_is() -> None:
    error = unknown_targets(["q_prj", "xyz"], "s3://models/tiny", MODULES)
    assert (error.code, error.reason) == (ExitCode.BAD_CONFIG, "UnknownTargetModules")
    assert "no layer q_prj or xyz" in error.message
    assert "Did you mean q_proj for q_prj? It has embed_tokens, gate_proj, q_proj, v_proj (or use" in error.message
    assert "mean" not in unknown_targets(["xyz"], "s3://models/tiny", MODULES).message
