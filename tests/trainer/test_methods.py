"""Every method, from the two commands to an artifact that other programs can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainerCallback

from kubetune_contract import ExitCode, KubeTuneError, Lora, Method
from kubetune_shared.artifacts import fetch, read_manifest
from kubetune_shared.rows import Row
from kubetune_trainer.model.capability import Precision
from kubetune_trainer.model.device import Device
from kubetune_trainer.model.loading import load_model
from kubetune_trainer.validate import OPTIMIZERS
from tests.support.points import Record
from tests.support.training import Jobs

from .inprocess import CPU, SaveAndStop, config, losses, trained, trainer_for


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


def test_all_variants_of_an_adapter_together(jobs: Jobs, base: Path, tmp_path: Path) -> None:
    lora = Lora(
        rank=4,
        alpha=8,
        dropout=0.1,
        target_modules=("q_proj", "down_proj"),
        use_rslora=True,
        use_dora=True,
        loraplus_lr_ratio=8.0,
    )
    hyper = {"neftune_noise_alpha": 5.0, "optimizer": "adamw_8bit"}
    summary = jobs.job(method=Method.QLORA, lora=lora, hyperparameters=hyper).both()
    # Untrained, it is the logarithm of the vocabulary's 405 tokens.
    assert summary["trainLoss"] < 6.0
    fetch(jobs.store, summary["artifact"]["uri"], tmp_path / "adapter")
    made = adapter_config(tmp_path / "adapter")
    assert (made["use_rslora"], made["use_dora"], sorted(made["target_modules"])) == (
        True,
        True,
        ["down_proj", "q_proj"],
    )
    assert changes_the_output(base, tmp_path / "adapter")


VARIANTS = {
    "neftune": config(hyper={"neftune_noise_alpha": 5.0}),
    "dora": config({"use_dora": True, "dropout": 0.1}),
    "loraplus": config({"loraplus_lr_ratio": 16.0}, {"weight_decay": 0.01}),
    "loraplus, 8-bit": config({"loraplus_lr_ratio": 16.0}, {"optimizer": "adamw_8bit"}),
    "rslora, qlora": config({"use_rslora": True}, method=Method.QLORA),
    "dora, qlora": config({"use_dora": True}, method=Method.QLORA),
    "packing": config(hyper={"packing": True, "max_sequence_length": 32, "per_device_train_batch_size": 2}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_resumed_is_bitwise_equal(base: Path, tmp_path: Path, name: str, record_property: Record) -> None:
    variant = VARIANTS[name]
    whole = trainer_for(variant, base, tmp_path / "whole")
    whole.train()
    assert losses(whole)[-1] < losses(whole)[0]
    first = trainer_for(variant, base, tmp_path / "parts")
    first.add_callback(SaveAndStop(4))
    first.train()
    second = trainer_for(variant, base, tmp_path / "parts")
    second.train(resume_from_checkpoint=str(tmp_path / "parts/checkpoint-4"))
    assert losses(second) == losses(whole)
    expected, found = trained(whole.model), trained(second.model)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    record_property("point", f"method {name}: resumed at step 4 of 8, losses and weights bitwise equal")


def test_packed_rows_have_the_loss_of_rows_alone(base: Path, tmp_path: Path, record_property: Record) -> None:
    texts = [Row(n, text="say hello " * (1 + n % 5)) for n in range(64)]
    hyper = {"max_steps": 3, "per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
    alone = trainer_for(config(hyper=hyper), base, tmp_path / "alone", texts)
    packed = trainer_for(config(hyper={**hyper, "packing": True}), base, tmp_path / "packed", texts)
    alone.train()
    packed.train()
    assert len(packed.train_dataset) < 32
    assert losses(packed) == pytest.approx(losses(alone), abs=2e-4)
    assert packed._total_train_tokens == alone._total_train_tokens, "padding is not counted"
    difference = max(abs(a - b) for a, b in zip(losses(packed), losses(alone), strict=True))
    record_property(
        "point", f"packing: 64 rows as {len(packed.train_dataset)}, losses differ by at most {difference:.0e}"
    )


def test_rslora_scales_by_the_root_of_the_rank(base: Path, tmp_path: Path) -> None:
    scales = {
        use: trainer_for(config({"use_rslora": use}), base, tmp_path).model.base_model.model.model.layers[0].mlp.up_proj
        for use in (False, True)
    }
    assert scales[False].scaling["default"] == pytest.approx(8 / 4)
    assert scales[True].scaling["default"] == pytest.approx(8 / 2)


def test_dora_trains_magnitudes(base: Path, tmp_path: Path) -> None:
    names = trained(trainer_for(config({"use_dora": True}), base, tmp_path).model)
    assert any("lora_magnitude_vector" in name for name in names)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loraplus_gives_b_its_own_rate(base: Path, tmp_path: Path, optimizer: str) -> None:
    settings = {"optimizer": optimizer, "max_steps": 2, "lr_scheduler_type": "linear", "warmup_ratio": 0.0}
    trainer = trainer_for(config({"loraplus_lr_ratio": 16.0}, settings), base, tmp_path)
    before = trained(trainer.model)
    rates: list[dict[str, float]] = []
    trainer.add_callback(Rates(rates))
    trainer.train()
    assert rates[-1]["lora_A"] == pytest.approx(1e-2 / 2)
    assert rates[-1]["lora_B"] == pytest.approx(16e-2 / 2)
    assert all(
        not torch.equal(before[name], value) for name, value in trained(trainer.model).items() if "lora_B" in name
    )


class Rates(TrainerCallback):  # type: ignore[misc]
    """Notes the learning rate of every kind of matrix, as the optimizer has it for a step."""

    def __init__(self, seen: list[dict[str, float]]) -> None:
        self._seen = seen

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        names = {id(value): name.split(".")[-3] for name, value in kwargs["model"].named_parameters()}
        groups = kwargs["optimizer"].param_groups
        self._seen.append({names[id(group["params"][0])]: group["lr"] for group in groups if group["params"]})


def test_noise_is_for_training_only(base: Path, tmp_path: Path) -> None:
    noisy = trainer_for(config(hyper={"neftune_noise_alpha": 50.0, "max_steps": 1}), base, tmp_path)
    plain = trainer_for(config(hyper={"max_steps": 1}), base, tmp_path)
    noisy.train()
    plain.train()
    assert losses(noisy) != losses(plain)
    embeddings = noisy.model.get_input_embeddings()
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(embeddings(ids), plain.model.get_input_embeddings()(ids))


def narrow(folder: Path, width: int) -> Path:
    """The tiny model with layers of ``width`` inputs among those of 64 and 128."""
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_layers_that_a_cpu_cannot_quantise_are_left_alone(tmp_path: Path) -> None:
    folder = narrow(tmp_path, 96)
    quantised = load_model(config(method=Method.QLORA), folder, CPU)
    layer = quantised.model.layers[0]
    assert isinstance(layer.mlp.up_proj, bitsandbytes.nn.Linear4bit)
    assert type(layer.mlp.down_proj) is torch.nn.Linear
    assert type(quantised.lm_head) is torch.nn.Linear
    plain = load_model(config(), folder, CPU)
    ids = torch.tensor([[1, 2, 3, 4]])
    hidden = [model.model(ids).last_hidden_state for model in (quantised, plain)]
    assert float((hidden[0] - hidden[1]).detach().norm() / hidden[1].detach().norm()) < 0.15


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_gradients_pass_through_four_bits_after_an_evaluation_as_before(tmp_path: Path, precision: Precision) -> None:
    # 80 outputs are no multiple of 32, which bitsandbytes' own way for CPUs with AVX512_BF16 wants.
    model = load_model(config(method=Method.QLORA), narrow(tmp_path, 80), Device("cpu", precision))
    assert isinstance(model.model.layers[0].mlp.up_proj, bitsandbytes.nn.Linear4bit)
    ids = torch.tensor([[1, 2, 3, 4]])

    def gradient() -> torch.Tensor:
        model.train()
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.model(inputs_embeds=embedded).last_hidden_state.float().square().sum().backward()
        assert embedded.grad is not None
        found: torch.Tensor = embedded.grad
        return found

    before = gradient()
    model.eval()
    with torch.no_grad():
        model(ids)
    assert torch.equal(gradient(), before)


def test_a_model_without_any_such_layer_is_refused(tmp_path: Path) -> None:
    config_ = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2, head_dim=16
    )
    LlamaForCausalLM(config_).save_pretrained(tmp_path)
    with pytest.raises(
        KubeTuneError, match=r"must be a multiple of 64 weights, model\.layers\.0\.self_attn\.q_proj has"
    ) as caught:
        load_model(config(method=Method.QLORA), tmp_path, CPU)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "CannotQuantise")


@pytest.mark.parametrize(
    ("targets", "named"), [(("query_key_value",), "query_key_value"), (("q_proj", "vproj"), "vproj"), (("mlp",), "mlp")]
)
def test_unknown_target_modules_are_refused(base: Path, tmp_path: Path, targets: tuple[str, ...], named: str) -> None:
    with pytest.raises(KubeTuneError, match=f"has no layer {named} that .* It has down_proj, gate_proj") as caught:
        trainer_for(config({"target_modules": targets}), base, tmp_path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "UnknownTargetModules")


def test_full(jobs: Jobs, base: Path, tmp_path: Path) -> None:
    job = jobs.job(method=Method.FULL, hyperparameters={"learning_rate": 1e-3})
    summary = job.both()
    assert summary["artifact"]["kind"] == "model"
    assert fetch(jobs.store, f"{job.config.output}/model", tmp_path / "model") is not None
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.use_cache
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == len(AutoTokenizer.from_pretrained(base))
    assert read_manifest(jobs.store, f"{job.config.output}/adapter") is None
