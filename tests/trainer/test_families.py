"""Every family from training to what is published, by the project's own code: counted, trained, merged, saved whole."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from kubetune_contract import ExitCode, Export, KubeTuneError, Lora, Method
from kubetune_shared.classes import towers
from kubetune_trainer.exports import merge
from kubetune_trainer.model.loading import stored_dtype
from kubetune_trainer.preflight.counting import count
from kubetune_trainer.preflight.estimate import trained_parameters
from kubetune_trainer.preflight.shapes import ShapeError
from kubetune_trainer.publishing.publish import GENERATION, save_artifact
from tests.support.adapter_layers import LAYERS
from tests.support.points import Record

from . import families
from .inprocess import config, trainer_for

pytestmark = pytest.mark.intake

IDS = torch.arange(5, 37)[None]
WRAPPERS = ("qwen3_5", "gemma3")
TOWERS = ("vision", "visual", "projector")


@pytest.fixture(scope="module", params=families.FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A family's name and its model's folder, the same for all tests of it."""
    return request.param, families.build(request.param, tmp_path_factory.mktemp(request.param))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return found


def save(job: Any, trainer: Any, base_folder: Path, folder: Path) -> Path:
    folder.mkdir()
    dtype = stored_dtype(base_folder)
    save_artifact(job, trainer.model, trainer.processing_class, base=base_folder, dtype=dtype, folder=folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    return merge.logits(model, IDS)


def test_trained_counted_merged(base: tuple[str, Path], tmp_path: Path, record_property: Record) -> None:
    family, folder = base
    job = config()
    trainer = trainer_for(job, folder, tmp_path / "trainer")
    trainer.train()
    layers = check_adapter_layers(family, trainer.model)
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    shape = count(job, folder)
    assert trained_parameters(shape, Method.LORA, job.lora) == trained
    assert shape.parameters == sum(weight.numel() for weight in families.load(folder).parameters())
    adapter = save(job, trainer, folder, tmp_path / "adapter")
    merged = tmp_path / "merged"
    merged.mkdir()
    merge.write_merged(folder, adapter, merged, "s3://models/x")
    expected = logits(PeftModel.from_pretrained(families.load(folder), adapter))
    missed = float((logits(families.load(merged)) - expected).abs().max())
    moved = float((logits(families.load(folder)) - expected).abs().max())
    assert missed < 1e-4
    assert moved > 1e-2
    before, after = weights(folder), weights(merged)
    # Servers and converters find every weight under the name that the base has it under.
    assert {name: value.shape for name, value in before.items()} == {name: v.shape for name, v in after.items()}
    assert json.loads((merged / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    for name in before:
        if any(part in name for part in TOWERS):
            assert torch.equal(before[name], after[name]), name
    record_property(
        "point",
        f"{family}: {trained} of {shape.parameters} weights trained on {layers} layers of a block, as counted; merged: "
        f"logits differ by {missed:.0e} from the adapter's, which moved them by {moved:.1f}",
    )


def check_adapter_layers(family: str, model: Any) -> int:
    """Every layer of tests/support/adapter_layers.py has its adapter, no other has, and each has learned."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    found = {key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in state}
    wanted = {f"{LAYERS[family].prefix}.N.{name}" for name in LAYERS[family].names}
    assert {re.sub(r"\.\d+\.", ".N.", name, count=1) for name in found} == wanted
    idle = [key for key, value in state.items() if "lora_B" in key and not value.abs().max()]
    # What never has a gradient stops DistributedDataParallel at the second step.
    assert idle == []
    return len(wanted)


def test_whole_models(base: tuple[str, Path], tmp_path: Path, record_property: Record) -> None:
    """Method full: towers stay, every trained weight has a gradient, and the base's generation settings come along."""
    family, folder = base
    settings = {"temperature": 0.9, "top_p": 0.6, "_from_model_config": True}
    (folder / GENERATION).write_text(json.dumps(settings))
    job = dataclasses.replace(config(hyper={"max_steps": 2, "learning_rate": 1e-3}), method=Method.FULL)
    trainer = trainer_for(job, folder, tmp_path / "trainer")
    trainer.train()
    trainer.save_model(str(tmp_path / "checkpoint"))
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert trained_parameters(count(job, folder), Method.FULL, job.lora) == sum(weight.numel() for weight in trained)
    frozen = [name for name, weight in trainer.model.named_parameters() if not weight.requires_grad]
    assert bool(frozen) == (family in WRAPPERS)
    assert all(name.startswith(tuple(towers(trainer.model))) for name in frozen)
    saved = save(job, trainer, folder, tmp_path / "model")
    assert json.loads((saved / GENERATION).read_text()) == settings
    before, after = weights(folder), weights(saved)
    assert set(before) == set(after)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in still if not any(part in name for part in TOWERS)} == set()
    assert bool(still) == (family in WRAPPERS)
    assert torch.isfinite(logits(families.load(saved))).all()
    record_property("point", f"{family}, whole: saved under the base's names, with its generation settings")


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "gpt2", "qwen3_5"])
def test_dora(family: str, tmp_path: Path) -> None:
    folder = families.build(family, tmp_path / "base")
    job = config(lora={"use_dora": True})
    trainer = trainer_for(job, folder, tmp_path / "trainer")
    trainer.train()
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    assert trained_parameters(count(job, folder), Method.LORA, job.lora) == trained
    adapter, merged = save(job, trainer, folder, tmp_path / "adapter"), tmp_path / "merged"
    merged.mkdir()
    merge.write_merged(folder, adapter, merged, "s3://models/x")
    expected = logits(PeftModel.from_pretrained(families.load(folder), adapter))
    assert (logits(families.load(merged)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize(
    ("lora", "remedy"), [({"use_dora": True}, "leave lora.useDora out"), ({"dropout": 0.1}, "set lora.dropout: 0")]
)
def test_what_peft_cannot_put_on_experts_is_refused_before_training(
    family: str, lora: dict[str, Any], remedy: str, tmp_path: Path
) -> None:
    folder = families.build(family, tmp_path / "base")
    for refuse in (count, lambda job, base: trainer_for(job, base, tmp_path / "trainer")):
        with pytest.raises(KubeTuneError, match=re.escape(remedy)) as caught:
            refuse(config(lora=lora), folder)
        assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "InvalidConfig")
    attention = {**lora, "target_modules": ("q_proj", "v_proj")}
    assert count(config(lora=attention), folder).adapter.per_rank


@pytest.mark.parametrize("family", ["llama", "llama-tied"])
def test_an_adapter_on_the_embedding(family: str, tmp_path: Path) -> None:
    """Merged right where the embedding is the input alone, refused before training where it is the output, too."""
    folder = families.build(family, tmp_path / "base")
    job = config(lora={"target_modules": ("embed_tokens", "q_proj")}, export=Export(merged=True))
    if family == "llama-tied":
        with pytest.raises(KubeTuneError, match="leave the embedding out") as caught:
            count(job, folder)
        assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "CannotExport")
        assert count(dataclasses.replace(job, export=Export()), folder).adapter.per_rank
        return
    trainer = trainer_for(job, folder, tmp_path / "trainer")
    trainer.train()
    adapter, merged = save(job, trainer, folder, tmp_path / "adapter"), tmp_path / "merged"
    merged.mkdir()
    merge.write_merged(folder, adapter, merged, "s3://models/x")
    expected = logits(PeftModel.from_pretrained(families.load(folder), adapter))
    assert (logits(families.load(merged)) - expected).abs().max() < 1e-4


def test_a_merge_that_is_not_the_adapters_model_is_not_published(tmp_path: Path) -> None:
    folder = families.build("llama", tmp_path / "base")
    job = config()
    trainer = trainer_for(job, folder, tmp_path / "trainer")
    trainer.train()
    adapter = save(job, trainer, folder, tmp_path / "adapter")
    with pytest.raises(KubeTuneError, match="cannot be merged: the merged model's logits differ") as caught:
        merge.check_merged(folder, adapter, folder, "s3://models/x")
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "CannotExport")


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    for said, settings in {
        "somethingnew": {"model_type": "somethingnew"},
        "quantised already": {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}},
    }.items():
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ShapeError, match=said):
            count(config(), tmp_path)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("c_attn",), ("qkv_proj",)])
def test_named_targets_are_counted(targets: tuple[str, ...], tmp_path: Path) -> None:
    family = {"q_proj": "gemma3", "c_attn": "gpt2", "qkv_proj": "phi3"}[targets[0]]
    folder = families.build(family, tmp_path / "base")
    job = config(lora={"target_modules": targets})
    model = trainer_for(job, folder, tmp_path / "trainer").model
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained_parameters(count(job, folder), Method.LORA, job.lora) == trained
    assert trained_parameters(count(job, folder), Method.LORA, Lora(rank=8, target_modules=targets)) == 2 * trained
