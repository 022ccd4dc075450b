"""Merged model and GGUF beside the result, read back by the programs they are for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from kubetune_contract import ExitCode, Export, KubeTuneError, Lora, Method
from kubetune_shared.artifacts import fetch, read_manifest
from kubetune_trainer.exports.gguf_export import write_gguf
from kubetune_trainer.exports.gguf_vocab import vocabulary
from tests.support.points import Record
from tests.support.s3 import S3Server
from tests.support.training import Jobs, upload

from . import tiny

IDS = torch.arange(5, 105)[None]
UNUSED = 2
"""The token of a system message, which no row has."""
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
}


def logits(folder: Path, **arguments: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **arguments)(IDS).logits
    return found


def test_merged_and_gguf(jobs: Jobs, base: Path, tmp_path: Path, record_property: Record) -> None:
    job = jobs.job(export=Export(merged=True, gguf="f16"))
    summary = job.both()
    assert [export["kind"] for export in summary["exports"]] == ["merged", "gguf"]
    fetch_all(jobs, job.config.output, tmp_path, "adapter", "merged", "gguf")
    expected = adapted(base, tmp_path / "adapter")
    merged = difference(expected, logits(tmp_path / "merged"))
    gguf = difference(expected, logits(tmp_path / "gguf", gguf_file="model.gguf"))
    assert merged < 1e-4
    assert gguf < 5e-2
    assert len(AutoTokenizer.from_pretrained(tmp_path / "merged")) == len(AutoTokenizer.from_pretrained(base))
    assert_cards(tmp_path, summary)
    assert_modelfile((tmp_path / "gguf/Modelfile").read_text())
    # A later attempt makes what is missing and nothing else.
    jobs.store.delete(f"{job.config.output}/gguf/manifest.json")
    again = dataclasses.replace(job, folder=job.folder.with_name("again"))
    second = again.both()
    assert second["artifact"] == summary["artifact"]
    assert second["exports"][0] == summary["exports"][0]
    assert [export["kind"] for export in second["exports"]] == ["merged", "gguf"]
    assert "trainer" not in {path.name for path in (again.folder / "work").iterdir()}
    record_property("point", f"merged and GGUF f16 of an adapter: logits differ by {merged:.1e} and {gguf:.1e} at most")
    record_property("point", "an export missing in the store: made by the next pod, which trained nothing again")


@pytest.mark.training
@pytest.mark.parametrize(
    ("method", "lora", "export", "tolerance"),
    [
        (Method.QLORA, Lora(rank=4, alpha=8), Export(gguf="bf16"), 0.3),
        (Method.LORA, Lora(rank=4, alpha=8, use_dora=True, use_rslora=True), Export(merged=True), 1e-4),
    ],
    ids=["qlora", "dora-rslora"],
)
def test_other_adapters(
    jobs: Jobs,
    base: Path,
    tmp_path: Path,
    method: Method,
    lora: Lora,
    export: Export,
    tolerance: float,
    record_property: Record,
) -> None:
    job = jobs.job(method=method, lora=lora, export=export)
    (made,) = job.both()["exports"]
    fetch_all(jobs, job.config.output, tmp_path, "adapter", made["kind"])
    arguments = {"gguf_file": "model.gguf"} if made["kind"] == "gguf" else {}
    found = difference(adapted(base, tmp_path / "adapter"), logits(tmp_path / made["kind"], **arguments))
    assert found < tolerance
    name = "DoRA with rsLoRA" if lora.use_dora else method.value
    record_property("point", f"{made['kind']} of {name}: logits differ by {found:.1e} at most")


def difference(expected: torch.Tensor, got: torch.Tensor) -> float:
    return float((expected - got).abs().max())


def fetch_all(jobs: Jobs, output: str, dest: Path, *names: str) -> None:
    for name in names:
        manifest = fetch(jobs.store, f"{output}/{name}", dest / name)
        assert manifest is not None
        assert manifest.kind == name
        assert "chat_template.jinja" in {entry.path for entry in manifest.files}


def adapted(base: Path, adapter: Path) -> torch.Tensor:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def assert_cards(folder: Path, summary: dict[str, Any]) -> None:
    for kind, library in (("adapter", "peft"), ("merged", "transformers"), ("gguf", "gguf")):
        text = (folder / kind / "README.md").read_text()
        assert f'library_name: "{library}"' in text
        assert summary["datasetSha256"] in text
        assert "| Hardware | CPU: " in text
        assert f"| Training loss | {summary['trainLoss']:.4f} |" in text


def assert_modelfile(text: str) -> None:
    assert text.startswith("FROM ./model.gguf\n")
    assert '{{ if eq .Role "system" }}<|system|>{{ .Content }}<|end|>{{ else' in text
    assert text.endswith('<|assistant|>"""\nPARAMETER stop "<|end|>"\n')


@pytest.mark.training
def test_a_full_model_as_gguf(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.job(method=Method.FULL, export=Export(merged=True, gguf="q8_0"), hyperparameters={"learning_rate": 1e-3})
    assert [export["kind"] for export in job.both()["exports"]] == ["gguf"]
    for name in ("model", "gguf"):
        fetch(jobs.store, f"{job.config.output}/{name}", tmp_path / name)
    assert torch.allclose(logits(tmp_path / "gguf", gguf_file="model.gguf"), logits(tmp_path / "model"), atol=0.3)


@pytest.mark.training
def test_an_export_that_cannot_be_made_costs_nothing_that_was_trained(
    jobs: Jobs, server: S3Server, tmp_path: Path, record_property: Record
) -> None:
    # An embedding that no row uses and that float16 cannot hold: trained well, and found when the file is written.
    folder = tiny.build(tmp_path / "large")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.get_input_embeddings().weight.data[UNUSED, 3] = 1e5
    model.save_pretrained(folder)
    upload(server, folder, "s3://models/large")
    job = jobs.job(base_model="s3://models/large", export=Export(gguf="f16"))
    summary = job.both()
    assert "exports" not in summary or not summary["exports"]
    (suggestion,) = [found for found in summary["suggestions"] if found["reason"] == "ExportFailed"]
    assert "the adapter is published" in suggestion["message"]
    assert read_manifest(jobs.store, f"{job.config.output}/adapter") is not None
    record_property("point", "an export that cannot be made: the adapter is published, the job succeeds and says why")


@pytest.mark.training
def test_a_base_stored_under_other_names_is_merged(
    jobs: Jobs, server: S3Server, tmp_path: Path, record_property: Record
) -> None:
    """As transformers loads it: without the prefix of its class."""
    folder = tiny.build(tmp_path / "renamed")
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    stored = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("model."): values for name, values in stored.items()}, folder / "model.safetensors")
    upload(server, folder, "s3://models/renamed")
    job = jobs.job(base_model="s3://models/renamed", export=Export(merged=True))
    assert [export["kind"] for export in job.both()["exports"]] == ["merged"]
    fetch_all(jobs, job.config.output, tmp_path, "adapter", "merged")
    found = difference(adapted(folder, tmp_path / "adapter"), logits(tmp_path / "merged"))
    assert found < 1e-4
    record_property("point", f"a base stored under other names is merged whole: logits differ by {found:.0e}")


def test_what_cannot_be_exported_is_refused_before_training(jobs: Jobs, server: S3Server, tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["GemmaForCausalLM"]}))
    upload(server, folder, "s3://models/other")
    job = jobs.job(base_model="s3://models/other", export=Export(gguf="f16"))
    assert job.run("prepare") == ExitCode.BAD_CONFIG
    assert job.termination["reason"] == "CannotExport"
    assert "GemmaForCausalLM; supported are LlamaForCausalLM" in job.termination["message"]


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SHAPE),
        LlamaConfig(**SHAPE, tie_word_embeddings=True),
        MistralConfig(**SHAPE, sliding_window=None),
        Qwen2Config(**SHAPE),
        Qwen3Config(**SHAPE, head_dim=128),
    ],
    ids=["llama", "llama-tied", "mistral", "qwen2", "qwen3"],
)
@pytest.mark.parametrize(("quantisation", "tolerance"), [("f16", 0.05), ("bf16", 0.4), ("q8_0", 1.0)])
def test_architectures(
    base: Path, tmp_path: Path, config: PreTrainedConfig, quantisation: str, tolerance: float
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    config.vocab_size = len(tokenizer) + 3
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.15)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", quantisation, "demo", "s3://models/x")
    expected = logits(tmp_path / "model")
    got = logits(tmp_path, gguf_file="model.gguf")
    assert expected.abs().max() > 2
    assert (got - expected).abs().max() < tolerance


def test_long_context_and_vocabulary(base: Path, tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LlamaConfig(**SHAPE, vocab_size=len(tokenizer) + 2, rope_parameters=rope)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf", "f16", "demo", "s3://models/x")
    reader = GGUFReader(tmp_path / "model.gguf")
    factors = next(tensor for tensor in reader.tensors if tensor.name == "rope_freqs.weight").data
    # The highest frequencies stay, the lowest are divided by the factor (Llama 3.1).
    assert factors[0] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(8.0)
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert reader.fields["tokenizer.ggml.tokens"].contents()[-1] == f"[PAD{len(tokenizer) + 1}]"
    assert "generation %}" not in reader.fields["tokenizer.chat_template"].contents()


def test_values_beyond_float16_are_refused(base: Path, tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[3, 3] = 1e5
    model.save_pretrained(folder)
    with pytest.raises(KubeTuneError, match=r"lm_head.weight .* bf16"):
        write_gguf(folder, tmp_path / "model.gguf", "f16", "demo", "s3://models/x")
    write_gguf(folder, tmp_path / "model.gguf", "bf16", "demo", "s3://models/x")


def test_sentencepiece_vocabulary() -> None:
    tokenizer = {
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "aba": 6},
            "merges": ["a b", ["ab", "a"]],
        },
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": True},
            {"id": 1, "content": "<s>", "special": True},
            {"id": 7, "content": "<tool>", "special": False},
        ],
    }
    words = vocabulary(tokenizer, 9)
    assert words.tokens == ["<unk>", "<s>", "<0x0A>", "a", "b", "ab", "aba", "<tool>", "[PAD8]"]
    assert words.types == [2, 3, 6, 1, 1, 1, 1, 4, 5]
    assert words.scores[5] > words.scores[6] > words.scores[3]
