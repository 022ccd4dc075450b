"""What the small files of a base tell, and its weights: each in one sentence with what to do."""

from __future__ import annotations

import json
import struct
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import KubeTuneError
from kubetune_shared.intake.base import Use, check_complete, check_files, check_finite, check_fits
from kubetune_shared.intake.complete import Compared, incomplete
from kubetune_shared.intake.finite import not_finite
from kubetune_shared.intake.positions import positions_of
from kubetune_shared.intake.quantisation import QUANTISATIONS, quantisation_of
from kubetune_shared.intake.template import ASSISTANT_FIRST, SYSTEM, chosen, frozen, is_dated, refusals, refused_in
from kubetune_shared.intake.tokenizer import outside, sentencepiece_only, vocabulary_rows
from tests.support.points import Record

pytestmark = pytest.mark.intake
URI = "s3://models/tiny"
LLAMA: dict[str, Any] = {"model_type": "llama", "vocab_size": 100}
FORMATS = {"F32": ("<f", 4), "F16": ("<e", 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [{"id": 3, "content": "<end>"}]}')
    return tmp_path


def weights(path: Path, values: list[float], dtype: str = "F32", name: str = "a.weight") -> Path:
    """A safetensors file of one tensor."""
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", value)[2:] for value in values)
    else:
        kind, _ = FORMATS[dtype]
        data = b"".join(struct.pack(kind, value) for value in values)
    header = json.dumps({name: {"dtype": dtype, "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_weights_that_are_no_numbers(tmp_path: Path, dtype: str, sign: int) -> None:
    file = tmp_path / "model.safetensors"
    assert not_finite(weights(file, [0.0, -1.5, 3e4], dtype)) is None
    assert not_finite(weights(file, [0.0, sign * float("nan"), 1.0], dtype)) == ("a.weight", "NaN")
    assert not_finite(weights(file, [sign * float("inf"), 1.0], dtype)) == ("a.weight", "infinity")
    # A mask may be meant so.
    assert not_finite(weights(file, [sign * float("inf"), 1.0], dtype, "attn.masked_bias")) is None
    assert not_finite(weights(file, [], dtype)) is None


def test_a_broken_weight_is_named(tmp_path: Path, record_property: Record) -> None:
    with pytest.raises(KubeTuneError, match=r"has NaN in a.weight \(model.safetensors\)") as caught:
        check_finite([weights(tmp_path / "model.safetensors", [float("nan")])], URI)
    record_property("point", f"NaN in the weights: refused, ModelDamaged: {caught.value.message}")


@given(st.lists(st.floats(width=32), min_size=1, max_size=64))
def test_what_is_finite_is_found_as_python_finds_it(tmp_path_factory: Any, values: list[float]) -> None:
    file = weights(tmp_path_factory.mktemp("w") / "model.safetensors", values)
    assert (not_finite(file) is None) == all(abs(value) < float("inf") for value in values)


@pytest.mark.parametrize(
    ("compared", "names", "said"),
    [
        (Compared(), ["a"], None),
        (Compared(unexpected=frozenset({"vision.a"})), ["vision.a"], None),
        (Compared(missing=frozenset("dcba")), ["e"], "lacks a, b, c and 1 more weights"),
        (Compared(missing=frozenset("a")), ["_orig_mod.a"], "torch.compile"),
        (Compared(missing=frozenset("a")), ["model._orig_mod.a", "model._orig_mod.b", "lm_head"], "torch.compile"),
        (Compared(missing=frozenset("a")), ["module.a"], "several GPUs"),
        (Compared(missing=frozenset("a")), ["base_model.model.a"], "merge_and_unload"),
        (Compared(mismatched=(("a", (3, 4), (5, 4)),)), ["a"], "has a as 3x4, config.json says 5x4"),
        (Compared(mismatched=(("b", (), (1,)), ("a", (), (1,)))), ["a"], "a single number, config.json says 1 (2 such"),
    ],
)
def test_what_is_missing(compared: Compared, names: list[str], said: str | None) -> None:
    found = incomplete(compared, names)
    assert (found is None) == (said is None)
    if said:
        assert said in (found or "")
        with pytest.raises(KubeTuneError, match=r"model s3://models/tiny (has|lacks) "):
            check_complete(compared, names, URI)


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quant_method": "AWQ"}, "awq"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "novel"}, "novel"),
        ({}, ""),
        (None, None),
    ],
)
def test_how_it_is_quantised(settings: dict[str, Any] | None, method: str | None) -> None:
    for config in ({"quantization_config": settings}, {"text_config": {"quantization_config": settings}}):
        found = quantisation_of(config)
        assert (found.method if found else None) == (method or None)
    assert quantisation_of({}) is None


@pytest.mark.parametrize("one", QUANTISATIONS, ids=lambda one: one.method)
def test_what_can_be_done_with_quantised_weights(folder: Path, one: Any, record_property: Record) -> None:
    config = LLAMA | {"quantization_config": {"quant_method": one.method}}
    for use, why_not in ((Use.TRAIN, one.trained), (Use.EVALUATE, one.evaluated)):
        if not why_not:
            check_files(folder, config, URI, use)
            continue
        with pytest.raises(KubeTuneError) as caught:
            check_files(folder, config, URI, use)
        assert caught.value.reason == "ModelNotSupported"
        assert "unquantised" in caught.value.message
    said = ", ".join(
        f"{name}: {'yes' if not why_not else 'refused'}"
        for name, why_not in (("trained", one.trained), ("evaluated", one.evaluated), ("served", one.served))
    )
    record_property("point", f"{one.name} weights: {said}")


def test_an_adapter_in_the_folder(folder: Path, record_property: Record) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(KubeTuneError, match="an adapter lies beside it") as caught:
        check_files(folder, LLAMA, URI, Use.EVALUATE)
    record_property("point", f"an adapter in the base's folder: refused, ModelNotSupported: {caught.value.message}")


def test_sentencepiece_only(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    assert "SentencePiece only (tokenizer.model)" in (sentencepiece_only(tmp_path) or "")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert sentencepiece_only(tmp_path) is None


@pytest.mark.parametrize(
    ("settings", "rows", "said"),
    [
        ({"eos_token": "<end>"}, 4, None),
        ({"eos_token": "<end>"}, 3, "'<end>' as its eos_token, which is token 3 where the embedding has 3"),
        ({"pad_token": {"content": "<end>"}}, 2, "as its pad_token"),
        ({"pad_token": "<pad>", "added_tokens_decoder": {"9": {"content": "<pad>"}}}, 9, "token 9"),
        ({"additional_special_tokens": ["<end>"]}, 1, None),
        ({"eos_token": "<end>"}, None, None),
        ({"eos_token": 7, "added_tokens_decoder": []}, 1, None),
    ],
)
def test_tokens_beyond_the_embedding(folder: Path, settings: Any, rows: int | None, said: str | None) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = outside(folder, rows)
    assert (found is None) == (said is None)
    assert said is None or said in (found or "")


def test_the_size_of_the_embedding() -> None:
    assert vocabulary_rows(LLAMA) == 100
    assert vocabulary_rows({"text_config": {"vocab_size": 7}}) == 7
    assert vocabulary_rows({"text_config": {}, "vocab_size": 8}) == 8
    assert vocabulary_rows({"vocab_size": None}) is None


GPT2 = {"n_positions": 64, "vocab_size": 100}
WPE = ["transformer.wpe.weight", "transformer.h.0.attn.c_attn.weight"]


def test_positions() -> None:
    assert positions_of({}, ()) is None
    assert positions_of({"max_position_embeddings": 0}, ()) is None
    assert positions_of(GPT2, WPE) == positions_of({"text_config": GPT2}, WPE)
    found = positions_of(GPT2, WPE)
    assert found
    assert (found.limit, found.learned) == (64, True)
    # A tower of images has places of its own.
    tower = positions_of({"max_position_embeddings": 9}, ["vision_tower.embeddings.position_embedding.weight"])
    assert tower
    assert not tower.learned


def test_rows_against_the_base(record_property: Record) -> None:
    check_fits(GPT2, WPE, 64, 99, URI)
    check_fits(GPT2, [], 65, 99, URI)
    with pytest.raises(KubeTuneError, match="set maxSequenceLength to 64 or less") as caught:
        check_fits(GPT2, WPE, 65, 99, URI)
    assert caught.value.reason == "SequenceTooLong"
    record_property("point", f"rows beyond learned positions: refused, SequenceTooLong: {caught.value.message}")
    with pytest.raises(KubeTuneError, match="gives token 100 for these rows, where the embedding has 100") as caught:
        check_fits(GPT2, WPE, 64, 100, URI)
    record_property("point", f"tokens beyond the embedding: refused, ModelDamaged: {caught.value.message}")


def test_named_templates() -> None:
    assert chosen({}) is None
    assert chosen({"default": "a", "tool_use": "b"}) == "a"
    assert chosen({"tool_use": "b"}) == "b"
    assert chosen({"rag": "a", "tool_use": "b"}) is None


def test_a_dated_template_is_frozen(record_property: Record) -> None:
    llama = '{%- set date_string = strftime_now("%d %b %Y") %}{{ date_string }}'
    assert is_dated(llama)
    assert not is_dated(None)
    assert not is_dated("{{ messages }}")
    assert frozen(llama) == '{%- set date_string = "26 Jul 2024" %}{{ date_string }}'
    assert frozen("{{ strftime_now( '%Y-%m-%d' ) }}", date(2031, 2, 3)) == "{{ '2031-02-03' }}"
    kept = "{{ strftime_now(format) }}"
    assert frozen(kept) == kept
    record_property("point", "a template that writes the date: learned with 26 Jul 2024 in its place")


def test_what_a_template_refuses() -> None:
    def strict(chat: list[dict[str, str]]) -> str:
        if [message["role"] for message in chat] != ["user", "assistant"] * (len(chat) // 2):
            raise ValueError("roles must alternate")
        return ""

    def nothing(chat: list[dict[str, str]]) -> str:
        raise ValueError(chat)

    assert refusals(strict) == {SYSTEM, ASSISTANT_FIRST}
    assert refusals(str) == frozenset()
    # It is then something else that it does not take.
    assert refusals(nothing) == frozenset()
    assert refused_in(refusals(strict), ["user", "assistant"]) is None
    assert "system message" in (refused_in({SYSTEM}, ["system", "user"]) or "")
    assert "begins with the assistant" in (refused_in({ASSISTANT_FIRST}, ["system", "assistant", "user"]) or "")
    assert refused_in({ASSISTANT_FIRST}, []) is None
