"""What can be exported, told from small files, and the Modelfile."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import (
    Artifact,
    Dataset,
    ExitCode,
    Export,
    KubeTuneError,
    Method,
    ObjectStore,
    Owner,
    TrainConfig,
    TrainSummary,
)
from kubetune_trainer.exports.exportable import (
    check_exports,
    gguf_problem,
    missing,
    rope_settings,
    tokenizer_kind,
    wanted,
)
from kubetune_trainer.exports.modelfile import Chat, modelfile, turns_of

CONFIG = TrainConfig(
    1, Owner("team", "demo", "uid"), "s3://models/tiny", Dataset("s3://data/x"), "s3://out/uid", ObjectStore()
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
GPT2 = {"model": {"type": "BPE"}, "pre_tokenizer": {**BYTES, "use_regex": True}}


def split(pattern: str, **changes: Any) -> dict[str, Any]:
    steps = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | changes, BYTES]
    return {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}


@pytest.mark.parametrize(
    ("tokenizer", "kind"),
    [
        (GPT2, ("gpt2", "gpt-2")),
        (split(LLAMA3), ("gpt2", "llama-bpe")),
        (split(LLAMA3.replace("{1,3}", "")), ("gpt2", "qwen2")),
        ({"model": {"type": "BPE", "byte_fallback": True}, "pre_tokenizer": None}, ("llama", "default")),
        (split(r"\w+"), None),
        (split(LLAMA3, invert=True), None),
        ({"model": {"type": "Unigram"}}, None),
        ({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Whitespace"}}, None),
        ({"model": {"type": "BPE"}, "pre_tokenizer": {**BYTES, "add_prefix_space": True}}, None),
    ],
)
def test_tokenizers(tokenizer: dict[str, Any], kind: tuple[str, str] | None) -> None:
    assert tokenizer_kind(tokenizer) == kind


@pytest.mark.parametrize(
    ("config", "tokenizer", "problem"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, GPT2, None),
        ({"architectures": ["Gemma3ForCausalLM"]}, GPT2, "Gemma3ForCausalLM; supported are LlamaForCausalLM, Mistral"),
        ({}, GPT2, "architecture is none"),
        ({"architectures": ["Qwen2ForCausalLM"], "quantization_config": {"bits": 4}}, GPT2, "quantised already"),
        ({"architectures": ["Qwen2ForCausalLM"], "rope_scaling": {"type": "dynamic"}}, GPT2, "of type dynamic"),
        ({"architectures": ["Qwen3ForCausalLM"], "rope_parameters": {"rope_type": "yarn"}}, GPT2, None),
        ({"architectures": ["LlamaForCausalLM"]}, {}, "no tokenizer.json"),
        ({"architectures": ["LlamaForCausalLM"]}, split("x"), "llama.cpp knows no tokenizer"),
    ],
)
def test_models(config: dict[str, Any], tokenizer: dict[str, Any], problem: str | None) -> None:
    found = gguf_problem(config, tokenizer)
    assert found is None if problem is None else problem in str(found)


def test_rope_settings_of_both_generations() -> None:
    assert rope_settings({"rope_theta": 5e5, "rope_scaling": None}) == {"rope_theta": 5e5}
    old = rope_settings({"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2}})
    assert (old["rope_type"], old["factor"], old["rope_theta"]) == ("linear", 2, 1e6)
    assert rope_settings({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}})["rope_theta"] == 5e5


def test_what_is_wanted_and_missing() -> None:
    config = dataclasses.replace(CONFIG, export=Export(merged=True, gguf="f16"))
    assert wanted(config) == ("merged", "gguf")
    assert wanted(dataclasses.replace(config, method=Method.FULL)) == ("gguf",)
    assert wanted(CONFIG) == ()
    done = TrainSummary(1, Artifact("", "adapter", "", 0), 1, 1, 0, 1.0, exports=(Artifact("u", "merged", "", 1),))
    assert missing(config, done) == ("gguf",)


def test_a_quantised_base_is_refused_for_merging(tmp_path: Path) -> None:
    settings = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(KubeTuneError, match="quantised already") as caught:
        check_exports(dataclasses.replace(CONFIG, export=Export(merged=True)), tmp_path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "CannotExport")
    check_exports(CONFIG, tmp_path)


def chatml(chat: Chat, go_on: bool) -> str:
    """As Qwen 2.5 writes it: a system message of its own where there is none."""
    head = "" if chat[0]["role"] == "system" else "<|im_start|>system\nBe helpful.<|im_end|>\n"
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in chat)
    return head + turns + ("<|im_start|>assistant\n" if go_on else "")


def llama2(chat: Chat, go_on: bool) -> str:
    """The system message inside the first user turn: no text around contents."""
    system = f"<<SYS>>{chat[0]['content']}<</SYS>>" if chat[0]["role"] == "system" else ""
    text = ""
    for turn in chat[1 if system else 0 :]:
        text += f"[INST] {system}{turn['content']} [/INST]" if turn["role"] == "user" else f" {turn['content']}</s>"
        system = ""
    return text


def refusing(chat: Chat, go_on: bool) -> str:
    if chat[0]["role"] == "system":
        raise ValueError("no system messages")
    return chatml(chat, go_on)


def test_a_regular_template_is_translated() -> None:
    turns = turns_of(lambda chat, go_on: "<s>" + chatml(chat, go_on), bos="<s>")
    assert turns is not None
    assert turns.template() == (
        "{{ if not .System }}<|im_start|>system\nBe helpful.<|im_end|>\n{{ end }}"
        "{{ range .Messages }}"
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n{{ end }}'
        "{{ end }}<|im_start|>assistant\n"
    )
    text = modelfile("model.gguf", turns, ["<|im_end|>", "<|im_end|>", ""], chats=True)
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """{{ if not .System }}')
    assert text.endswith('"""\nPARAMETER stop "<|im_end|>"\n')


@pytest.mark.parametrize("render", [llama2, refusing, lambda chat, go_on: chatml(chat, go_on).replace("Be", "{{ Be")])
def test_other_templates_are_left_to_the_reader_of_the_file(render: Any) -> None:
    turns = turns_of(render)
    assert turns is None
    text = modelfile("model.gguf", turns, ["</s>"], chats=True)
    assert "TEMPLATE" not in text
    assert "tokenizer.chat_template" in text


def test_a_model_without_chats() -> None:
    assert modelfile("model.gguf", None, ["</s>"], chats=False) == (
        'FROM ./model.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "</s>"\n'
    )
