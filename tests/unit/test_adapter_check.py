"""Adapters that vLLM cannot serve are refused before anything is loaded, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_server.adapter_check import check_adapter, check_base, check_sizes, check_tensors
from kubetune_server.model_check import check_servable
from kubetune_shared.manifest import BaseModel, Manifest
from tests.support.points import Record

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


LORA = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (8, 64),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (96, 8),
}
BASE = {"model.layers.0.self_attn.q_proj.weight": (96, 64), "lm_head.weight": (100, 64)}
CONFIG = {"num_hidden_layers": 1}
MODEL_URI = "hf://Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.intake
@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.embed_tokens.base_layer.weight",
        "base_model.model.lm_head.base_layer.weight",
        "base_model.model.model.layers.0.input_layernorm.weight",
    ],
)
def test_whole_weights_in_an_adapter_are_refused(name: str, record_property: Record) -> None:
    check_tensors(LORA, URI)
    check_tensors([*LORA, "base_model.model.score.weight"], URI)
    with pytest.raises(KubeTuneError, match="left out in serving") as caught:
        check_tensors([*LORA, name], URI)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "AdapterNotServable")
    record_property("point", f"an adapter with {name}: refused, AdapterNotServable: {caught.value.message}")


@pytest.mark.intake
@pytest.mark.parametrize(
    ("base", "config", "said"),
    [
        (
            {"model.layers.0.self_attn.q_proj.weight": (96, 128)},
            CONFIG,
            "is 64 wide in it, the model's is 96x128",
        ),
        ({"model.layers.0.self_attn.q_proj.weight": (80, 64)}, CONFIG, "q_proj is 96 wide in it"),
        # A wrapper's names begin with others.
        ({"model.language_model.layers.0.self_attn.q_proj.weight": (80, 80)}, CONFIG, "wide in it"),
        (BASE, {"text_config": {"num_hidden_layers": 0}}, "it has layer 0, the model has 0 layers"),
    ],
)
def test_an_adapter_of_another_models_size_is_refused(
    base: dict[str, tuple[int, ...]], config: dict[str, Any], said: str, record_property: Record
) -> None:
    """Also where nothing says which base it was trained on."""
    with pytest.raises(KubeTuneError, match=said) as caught:
        check_sizes(LORA, base, config, MODEL_URI, URI)
    assert caught.value.reason == "BaseModelMismatch"
    record_property("point", f"an adapter of another model's size: refused, BaseModelMismatch: {caught.value.message}")


@pytest.mark.intake
@pytest.mark.parametrize(
    ("base", "config"),
    [
        (BASE, CONFIG),
        # GPT-2 keeps its weights the other way round.
        ({"h.0.self_attn.q_proj.weight": (64, 96), "model.layers.0.self_attn.q_proj.weight": (64, 96)}, CONFIG),
        (
            {"model.layers.0.self_attn.q_proj.weight": (3072, 1)},
            {**CONFIG, "quantization_config": {"quant_method": "awq"}},
        ),
        ({}, {}),
        ({"other": (1,), "model.layers.0.self_attn.q_proj.qweight": (3, 3)}, CONFIG),
    ],
)
def test_an_adapter_that_nothing_contradicts_passes(base: dict[str, tuple[int, ...]], config: dict[str, Any]) -> None:
    check_sizes(LORA, base, config, MODEL_URI, URI)


@pytest.mark.intake
@pytest.mark.parametrize(
    ("recorded", "served"),
    [
        ("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit", "hf://Qwen/Qwen2.5-0.5B-Instruct"),
        ("unsloth/qwen2.5-0.5b-instruct-unsloth-bnb-4bit", "hf://Qwen/Qwen2.5-0.5B-Instruct@main"),
        ("unsloth/Qwen2.5-0.5B-Instruct", "hf://Qwen/Qwen2.5-0.5B-Instruct"),
        ("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit", "hf://unsloth/Qwen2.5-0.5B-Instruct"),
        ("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit", "pvc://models/qwen"),
    ],
)
def test_an_adapter_of_a_quantised_copy_is_served_on_the_original(
    recorded: str, served: str, record_property: Record
) -> None:
    check_base({**PLAIN, "base_model_name_or_path": recorded}, None, served, None, URI)
    record_property("point", f"an adapter trained on {recorded}: served on {served}")


@pytest.mark.intake
def test_the_remedy_for_an_adapter_of_a_quantised_copy_can_be_followed(record_property: Record) -> None:
    config = {**PLAIN, "base_model_name_or_path": "unsloth/llama-3-8b-bnb-4bit"}
    with pytest.raises(KubeTuneError, match="hf://unsloth/llama-3-8b or the one it was made from") as caught:
        check_base(config, None, "hf://meta-llama/Meta-Llama-3-8B", None, URI)
    assert "uri to hf://unsloth/llama-3-8b-bnb-4bit" not in caught.value.message
    check_base(config, None, "hf://unsloth/llama-3-8b", None, URI)
    record_property("point", f"an adapter of another copy: refused, BaseModelMismatch: {caught.value.message}")
