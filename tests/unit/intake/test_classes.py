"""Which class a config.json asks for, with a few of transformers' own tables."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_shared.intake.classes import Kind, Tables, class_of
from kubetune_shared.intake.families import FAMILIES, family
from tests.support.points import Record

pytestmark = pytest.mark.intake
TABLES = Tables(
    version="5.23.0",
    known={"llama", "bert", "t5", "bart", "gemma3", "mistral3", "vit", "qwen2"},
    causal={
        "llama": "LlamaForCausalLM",
        "bert": "BertLMHeadModel",
        "bart": "BartForCausalLM",
        "gemma3": "Gemma3ForConditionalGeneration",
        "qwen2": "Qwen2ForCausalLM",
    },
    masked={"bert": "BertForMaskedLM"},
    encoder_decoder={"t5": "T5ForConditionalGeneration", "bart": "BartForConditionalGeneration"},
    images={"gemma3": "Gemma3ForConditionalGeneration", "mistral3": "Mistral3ForConditionalGeneration"},
)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "llama"}, Kind.CAUSAL),
        ({"model_type": "llama", "architectures": ["LlamaModel"], "auto_map": {"AutoModel": "x.Y"}}, Kind.CAUSAL),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}, Kind.CAUSAL),
        ({"model_type": "bart", "architectures": ["BartForCausalLM"]}, Kind.CAUSAL),
        (
            {"model_type": "gemma3", "architectures": ["Gemma3"], "text_config": {}},
            Kind.WRAPPER,
        ),
    ],
)
def test_what_writes_text_is_taken(config: dict[str, Any], kind: Kind) -> None:
    found = class_of(config, TABLES)
    assert (found.kind, found.problem) == (kind, "")


@pytest.mark.parametrize(
    ("config", "kind", "said"),
    [
        ({}, Kind.UNNAMED, "no model_type"),
        ({"model_type": None}, Kind.UNNAMED, "no model_type"),
        ({"model_type": 3}, Kind.UNNAMED, "no model_type"),
        ({"model_type": "lama"}, Kind.UNKNOWN, "did you mean llama?"),
        ({"model_type": "novel"}, Kind.UNKNOWN, "unknown to transformers 5.23.0"),
        ({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "x.Y"}}, Kind.CODE, "never run here"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, Kind.MASKED, "BertForMaskedLM"),
        ({"model_type": "bert"}, Kind.MASKED, "does not write on"),
        ({"model_type": "t5", "is_encoder_decoder": True}, Kind.ENCODER_DECODER, "T5ForConditionalGeneration"),
        ({"model_type": "bart"}, Kind.ENCODER_DECODER, "encoder-decoder"),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, Kind.CLASSIFIER, "classifier"),
        ({"model_type": "mistral3", "text_config": {}}, Kind.IMAGES, "text and images"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, Kind.OTHER, "no language model (ViTModel)"),
    ],
)
def test_what_does_not_is_refused(config: dict[str, Any], kind: Kind, said: str, record_property: Record) -> None:
    found = class_of(config, TABLES)
    assert found.kind is kind
    assert said in found.problem
    assert "take " in found.problem or "save the model" in found.problem or "only models" in found.problem
    record_property("point", f"{kind.value} ({config}): refused: {found.problem}")


def test_a_family_has_one_row() -> None:
    kinds = [one.model_type for one in FAMILIES]
    assert len(set(kinds)) == len(kinds)
    assert family("llama") is FAMILIES[0]
    assert family(None) is family("novel") is None
