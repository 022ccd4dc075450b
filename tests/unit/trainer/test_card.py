"""Model cards: the facts, the hub's metadata, and the same facts under an export's head."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_contract import (
    Artifact,
    Dataset,
    Export,
    Lora,
    Method,
    ObjectStore,
    Owner,
    RecoveryStep,
    TrainConfig,
    TrainSummary,
)
from kubetune_trainer.publishing.card import Origin, base_license, card, export_card
from kubetune_trainer.reporting.hardware import GpuLoad, describe, processor

CONFIG = TrainConfig(
    1,
    Owner("team", "support-bot", "uid-1"),
    "hf://Qwen/Qwen2.5-1.5B-Instruct@main",
    Dataset("s3://data/support.jsonl"),
    "s3://out/uid-1",
    ObjectStore(),
    method=Method.QLORA,
    export=Export(gguf="q8_0"),
)
STEP = RecoveryStep("OutOfMemory", "halveBatch", "halved", 1.0, 3, 2, 8, False, "adamw_torch", 2e-4)
RESULTS = TrainSummary(
    1, Artifact("", "", "", 0), 120, 900, 100, 61.0, 1.23456, 1.5, "ab" * 32, peak_vram_bytes=3 << 30, recovery=(STEP,)
)
ORIGIN = Origin(
    "ab" * 32, "1 x NVIDIA GeForce RTX 3060 (12.0 GiB)", "2026-01-02", {"trl": "1.16.0"}, "0123abcd", None, "apache-2.0"
)


def metadata(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


def test_facts() -> None:
    text = card("adapter", CONFIG, RESULTS, ORIGIN)
    assert metadata(text) == {
        "base_model": "Qwen/Qwen2.5-1.5B-Instruct",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["kubetune", "sft", "qlora"],
    }
    for fact in (
        "# support-bot: adapter on Qwen/Qwen2.5-1.5B-Instruct",
        "| Base revision | 0123abcd |",
        f"| Dataset SHA-256 (rows, normalised) | {'ab' * 32} |",
        "| Job | team/support-bot, uid uid-1 |",
        "| Rows | 900 to train on, 100 held out |",
        "| Hardware | 1 x NVIDIA GeForce RTX 3060 (12.0 GiB) |",
        "| Peak GPU memory | 3.00 GiB |",
        "| Settings changed on the way | step 3: halveBatch |",
        "`learning_rate=0.0002`",
        "`lora.target_modules=all-linear`",
        "| Training loss | 1.2346 |",
        "| Validation loss | 1.5000 |",
    ):
        assert fact in text


def test_what_is_not_known_is_left_out() -> None:
    config = dataclasses.replace(CONFIG, base_model="s3://models/tiny", method=Method.FULL)
    results = dataclasses.replace(RESULTS, eval_loss=None, peak_vram_bytes=None, recovery=())
    text = card("model", config, results, dataclasses.replace(ORIGIN, base_revision=None, base_license=None))
    assert "base_model" not in metadata(text)
    assert "license" not in metadata(text)
    assert "None" not in text
    assert "lora." not in text
    assert "# support-bot: fine-tuned from s3://models/tiny" in text


def test_an_export_carries_the_facts_of_its_result() -> None:
    result = card("adapter", CONFIG, RESULTS, ORIGIN)
    text = export_card(result, "gguf", CONFIG)
    assert metadata(text)["library_name"] == "gguf"
    assert metadata(text)["base_model_relation"] == "quantized"
    assert metadata(text)["license"] == "apache-2.0"
    assert "One file of q8_0 for llama.cpp" in text
    assert text.partition("## What")[2] == result.partition("## What")[2]


def test_a_dora_adapter_says_what_it_needs() -> None:
    config = dataclasses.replace(CONFIG, lora=Lora(use_dora=True))
    assert "serve the merged model" in card("adapter", config, RESULTS, ORIGIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlanguage: en\nlicense: llama3.2\n---\n# Card\n", "llama3.2"),
        ("---\nlicense: 'mit'\n---\n", "mit"),
        ("# Card\nlicense: mit\n", None),
        ("---\ntags: [x]\n---\nlicense: mit\n", None),
    ],
)
def test_the_licence_comes_from_the_base_models_card(tmp_path: Path, text: str, expected: str | None) -> None:
    assert base_license(tmp_path) is None
    (tmp_path / "README.md").write_text(text)
    assert base_license(tmp_path) == expected


class Nvml:
    """The part of NVIDIA's management library that is asked."""

    class NVMLError(Exception):
        """What it raises."""

    def __init__(self, gpus: int = 2, works: bool = True) -> None:
        self.gpus, self.works, self.uuid = gpus, works, ""

    def nvmlInit(self) -> None:  # noqa: N802 (the library's names)
        if not self.works:
            raise self.NVMLError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        self.uuid = uuid
        return 0

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return "NVIDIA L4"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return type("Memory", (), {"total": 24 << 30})

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if self.gpus == 0:
            raise self.NVMLError
        return type("Rates", (), {"gpu": 50})


def test_hardware(tmp_path: Path) -> None:
    assert describe(2, Nvml()) == "2 x NVIDIA L4 (24.0 GiB)"
    assert describe(1, Nvml(works=False)) == "1 GPU"
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert processor(tmp_path / "cpuinfo") == "Some CPU @ 3 GHz"
    assert processor(tmp_path / "none")
    assert describe(0).startswith("CPU: ")


def test_the_gpus_load_is_a_mean_since_it_was_last_asked() -> None:
    library = Nvml()
    load = GpuLoad("abc", library)
    assert library.uuid == "GPU-abc"
    assert load.mean() is None
    for _ in range(3):
        load.sample()
    assert load.mean() == 0.5
    assert load.mean() is None


@pytest.mark.parametrize("library", [Nvml(gpus=0), Nvml(works=False)], ids=["no counter", "no driver"])
def test_without_nvml_the_load_is_unknown(library: Nvml) -> None:
    load = GpuLoad(None, library)
    load.sample()
    assert load.mean() is None
