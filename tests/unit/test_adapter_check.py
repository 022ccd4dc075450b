"""Adapters that vLLM cannot serve are refused before anything is loaded, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_server.adapter_check import check_adapter, check_base
from kubetune_server.model_check import check_servable
from kubetune_shared.manifest import BaseModel, Manifest

URI = "s3://models/adapter"
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 16,
    "lora_alpha": 32,
    "bias": "none",
    "target_modules": ["q_proj"],
    "modules_to_save": None,
    "init_lora_weights": True,
}


@pytest.mark.parametrize(
    ("rank", "allowed"), [(1, 1), (2, 8), (8, 8), (9, 16), (16, 16), (33, 64), (200, 256), (257, 320), (512, 512)]
)
def test_rank_is_rounded_up_to_one_vllm_takes(rank: int, allowed: int) -> None:
    assert check_adapter({**PLAIN, "r": rank}, URI) == allowed


def test_a_rank_pattern_counts() -> None:
    assert check_adapter({**PLAIN, "r": 8, "rank_pattern": {"q_proj": 40}}, URI) == 64


@pytest.mark.parametrize(
    "harmless",
    [{"use_rslora": True}, {"init_lora_weights": "gaussian"}, {"modules_to_save": []}, {"modules_to_save": ["score"]}],
)
def test_what_vllm_serves_passes(harmless: dict[str, Any]) -> None:
    assert check_adapter({**PLAIN, **harmless}, URI) == 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head", "score"]}, "modules_to_save: lm_head)"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"r": 513}, "rank is 513"),
        ({"r": 0}, "rank is 0"),
        ({"layer_replication": [[0, 4]]}, "repeats layers"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"alora_invocation_tokens": [1]}, "activated"),
        ({"use_qalora": True}, "QA-LoRA"),
    ],
)
def test_what_vllm_does_not_serve_is_refused_with_a_way_out(change: dict[str, Any], said: str) -> None:
    with pytest.raises(KubeTuneError) as caught:
        check_adapter({**PLAIN, **change}, URI)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "AdapterNotServable")
    assert said in caught.value.message
    assert "merge it" in caught.value.message


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(KubeTuneError, match=r"DoRA.*modules_to_save"):
        check_adapter({**PLAIN, "use_dora": True, "modules_to_save": ["lm_head"]}, URI)


def manifest(base: str, digest: str | None = None) -> Manifest:
    return Manifest(1, "adapter", (), BaseModel(base, digest))


@pytest.mark.parametrize(
    ("recorded", "digest", "served", "served_digest"),
    [
        ("s3://models/tiny", None, "s3://models/tiny", None),
        ("s3://models/tiny/", None, "s3://models/tiny", "abc"),
        # The same bytes elsewhere are the same model.
        ("s3://models/tiny", "abc", "s3://mirror/tiny", "abc"),
        ("hf://meta/llama@main", None, "hf://meta/llama", None),
        ("hf://meta/llama", None, "s3://mirror/llama", None),
    ],
)
def test_the_right_base_passes(recorded: str, digest: str | None, served: str, served_digest: str | None) -> None:
    check_base(PLAIN, manifest(recorded, digest), served, served_digest, URI)


@pytest.mark.parametrize(
    ("recorded", "digest", "served", "served_digest", "said"),
    [
        ("s3://models/tiny", None, "s3://models/other", None, "set the model's uri to s3://models/tiny"),
        ("s3://models/tiny", "abc", "s3://models/other", "def", "trained on s3://models/tiny"),
        ("s3://models/tiny", "abc", "s3://models/tiny", "def", "published again"),
        ("hf://meta/llama@v1", None, "hf://meta/llama@v2", None, "trained on hf://meta/llama@v1"),
        ("s3://models/tiny", None, "hf://meta/llama", None, "trained on s3://models/tiny"),
    ],
)
def test_another_base_is_refused(
    recorded: str, digest: str | None, served: str, served_digest: str | None, said: str
) -> None:
    with pytest.raises(KubeTuneError) as caught:
        check_base(PLAIN, manifest(recorded, digest), served, served_digest, URI)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "BaseModelMismatch")
    assert said in caught.value.message


def test_without_a_manifest_peft_knows_the_base_by_name() -> None:
    config = {**PLAIN, "base_model_name_or_path": "meta/llama"}
    check_base(config, None, "hf://meta/llama@main", None, URI)
    check_base({**PLAIN, "base_model_name_or_path": "/models/tiny"}, None, "s3://models/tiny", None, URI)
    check_base({**PLAIN, "base_model_name_or_path": "s3://models/tiny"}, None, "s3://models/tiny", None, URI)
    with pytest.raises(KubeTuneError, match="trained on hf://meta/llama"):
        check_base(config, None, "hf://meta/other", None, URI)


def test_models_of_a_quantisation_vllm_dropped_are_refused() -> None:
    check_servable({"architectures": ["LlamaForCausalLM"]}, "s3://models/tiny", 0)
    check_servable({"architectures": ["X"], "quantization_config": {"quant_method": "awq"}}, "s3://models/tiny", 1)
    with pytest.raises(KubeTuneError, match="bitsandbytes"):
        check_servable(
            {"architectures": ["X"], "quantization_config": {"quant_method": "bitsandbytes"}}, "s3://models/tiny", 1
        )
    with pytest.raises(KubeTuneError, match="architectures"):
        check_servable({}, "s3://models/tiny", 1)


@pytest.mark.parametrize(
    "shape", [{"head_dim": 16}, {"hidden_size": 64, "num_attention_heads": 4}, {"text_config": {"head_dim": 40}}]
)
def test_heads_the_cpu_build_cannot_compute_with_are_refused_there_only(shape: dict[str, Any]) -> None:
    config = {"architectures": ["LlamaForCausalLM"], **shape}
    check_servable(config, "s3://models/tiny", 1)
    with pytest.raises(KubeTuneError, match=r"attention heads have (16|40) dimensions"):
        check_servable(config, "s3://models/tiny", 0)
    check_servable({**config, "head_dim": 64, "text_config": None}, "s3://models/tiny", 0)
