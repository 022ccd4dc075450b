"""The longest context that a model's configuration allows, as vLLM derives it."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_contract import Engine, ExitCode, KubeTuneError
from kubetune_server.lengths import check_length, longest


@pytest.mark.walk("W11")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 1024}, 1024),
        ({"n_positions": 1024, "vocab_size": 5}, 1024),
        ({"max_position_embeddings": 4096, "seq_length": 2048}, 2048),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "dynamic", "factor": 4}}, 16384),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 32768),
        ({"max_position_embeddings": 131072, "rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": None}}, 4096),
        (
            {
                "max_position_embeddings": 4096,
                "rope_parameters": {
                    "full": {"rope_type": "linear", "factor": 8.0},
                    "sliding": {"rope_type": "default"},
                },
            },
            32768,
        ),
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        ({"text_config": {"max_position_embeddings": 2048}, "max_position_embeddings": 7}, 2048),
        ({"sliding_window": 512, "max_position_embeddings": 4096}, 4096),
        ({}, None),
        ({"max_position_embeddings": "many"}, None),
    ],
)
def test_positions(config: dict[str, Any], expected: int | None) -> None:
    found = longest(config)
    assert (found[0] if found else None) == expected


@pytest.mark.walk("W11")
def test_a_length_beyond_the_models_is_refused_in_one_sentence() -> None:
    with pytest.raises(KubeTuneError) as caught:
        check_length(Engine(max_model_len=100_000), {"max_position_embeddings": 1024}, "s3://m/tiny")
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "MaxModelLenTooLarge")
    assert caught.value.message == (
        "spec.engine.maxModelLen is 100000, but model s3://m/tiny knows 1024 positions (max_position_embeddings in its "
        "config.json). Set spec.engine.maxModelLen to 1024 or less, or leave it out to get as much as model and memory "
        "allow."
    )


@pytest.mark.parametrize(
    "engine",
    [
        Engine(),
        Engine(max_model_len=1024),
        Engine(max_model_len=4096, extra_args=("--hf-overrides", '{"max_position_embeddings": 4096}')),
        Engine(max_model_len=4096, extra_args=("--hf_overrides.max_position_embeddings=4096",)),
    ],
)
def test_what_may_work_is_left_to_the_engine(engine: Engine) -> None:
    check_length(engine, {"max_position_embeddings": 1024}, "s3://m/tiny")


def test_other_options_change_nothing() -> None:
    with pytest.raises(KubeTuneError):
        check_length(
            Engine(max_model_len=4096, extra_args=("--enable-prefix-caching", "-v", "x")),
            {"max_position_embeddings": 1024},
            "s3://m/tiny",
        )
