"""Adapters of every family in vLLM: each layer has the name that it looks for, or the adapter is refused."""

from __future__ import annotations

import pytest

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_server.adapter_check import check_adapter, check_on_model
from kubetune_shared.lora_serving import not_served
from tests.support.adapter_layers import ENGINES, LAYERS, Layers
from tests.support.points import Record

pytestmark = pytest.mark.intake


def adapter(layers: Layers) -> dict[str, object]:
    fused = [name for name in layers.names if ".experts" in name]
    return {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_parameters": ["gate_up_proj"] if fused else None}


@pytest.mark.parametrize("family", LAYERS)
def test_an_adapter_is_found_or_refused(family: str, record_property: Record) -> None:
    layers = LAYERS[family]
    config, model = adapter(layers), {"architectures": [layers.architecture]}
    assert check_adapter(config, "s3://a/b") == 8
    problem = not_served(model, config)
    if problem is None:
        check_on_model(config, model, "s3://a/b")
        engine = ENGINES[layers.architecture]
        assert [name for name in layers.names if not engine.finds(f"{layers.prefix}.N.{name}")] == []
        record_property("point", f"{family}: vLLM finds all {len(layers.names)} adapted layers of a block")
        return
    with pytest.raises(KubeTuneError, match="Merge it into its base") as caught:
        check_on_model(config, model, "s3://a/b")
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "AdapterNotServable")
    record_property("point", f"{family}: {problem}")


def test_names_that_vllm_does_not_have_are_seen() -> None:
    """Of a wrapper whose language model was trained by itself, which vLLM passes over without a word."""
    assert not ENGINES["Qwen3_5ForConditionalGeneration"].finds("model.layers.N.self_attn.q_proj")
    assert not ENGINES["Gemma3ForConditionalGeneration"].finds("model.layers.N.mlp.up_proj")
    assert not ENGINES["LlamaForCausalLM"].finds("model.layers.N.mlp.w1")
