"""Every method, from the two commands to an artifact that other programs can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from kubetune_contract import Method
from kubetune_shared.artifacts import fetch, read_manifest
from tests.support.training import Jobs


@pytest.mark.parametrize("method", [Method.LORA, Method.QLORA])
def test_adapters(jobs: Jobs, base: Path, tmp_path: Path, method: Method) -> None:
    job = jobs.job(method=method, dataset={"validation_share": 0.2})
    summary = job.both()
    assert summary["artifact"]["kind"] == "adapter"
    assert summary["artifact"]["uri"] == f"{job.config.output}/adapter"
    assert summary["steps"] == 8
    assert summary["evalLoss"] < 6
    manifest = fetch(jobs.store, summary["artifact"]["uri"], tmp_path / "adapter")
    assert manifest is not None
    assert manifest.base_model is not None
    assert manifest.base_model.uri == "s3://models/tiny"
    assert manifest.libraries["trl"] == "1.16.0"
    assert manifest.dataset_sha256 == summary["datasetSha256"]
    assert adapter_config(tmp_path / "adapter")["base_model_name_or_path"] == "s3://models/tiny"
    assert (tmp_path / "adapter/tokenizer.json").is_file()
    assert "generation" in (tmp_path / "adapter/chat_template.jinja").read_text()
    assert changes_the_output(base, tmp_path / "adapter")


def adapter_config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return found


def changes_the_output(base: Path, adapter: Path) -> bool:
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([[1, 2, 3, 4]])
    before = model(ids).logits
    after = PeftModel.from_pretrained(model, adapter)(ids).logits
    return not torch.allclose(before, after)


def test_full(jobs: Jobs, base: Path, tmp_path: Path) -> None:
    job = jobs.job(method=Method.FULL, hyperparameters={"learning_rate": 1e-3})
    summary = job.both()
    assert summary["artifact"]["kind"] == "model"
    assert fetch(jobs.store, f"{job.config.output}/model", tmp_path / "model") is not None
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.use_cache
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == len(AutoTokenizer.from_pretrained(base))
    assert read_manifest(jobs.store, f"{job.config.output}/adapter") is None
