"""Every argument we set exists in the libraries' pinned versions, and does there what we rely on."""

from __future__ import annotations

import dataclasses
import inspect

import bitsandbytes
import pytest
import torch
from peft import LoraConfig
from peft.optimizers import create_loraplus_optimizer
from transformers import BitsAndBytesConfig
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from trl import SFTConfig

from kubetune_contract import Dataset, Hyperparameters, Lora, ObjectStore, Owner, TrainConfig
from kubetune_trainer.model.device import Device
from kubetune_trainer.model.loading import BLOCK
from kubetune_trainer.model.sft import lora_arguments, loraplus_arguments, quantization_arguments, sft_arguments
from kubetune_trainer.validate import OPTIMIZERS, SCHEDULERS

CONFIG = TrainConfig(1, Owner("a", "b", "c"), "s3://m/x", Dataset("s3://d/x"), "s3://o/x", ObjectStore())
CPU = Device("cpu", "float32")


def test_every_argument_exists() -> None:
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    assert not set(sft_arguments(CONFIG, CPU, "/tmp/x", has_validation=True)) - known
    assert not set(lora_arguments(Lora())) - {field.name for field in dataclasses.fields(LoraConfig)}
    assert not set(quantization_arguments(CPU, ["lm_head"])) - set(inspect.signature(BitsAndBytesConfig).parameters)
    loraplus = loraplus_arguments(dataclasses.replace(CONFIG, lora=Lora(loraplus_lr_ratio=16.0)))
    assert loraplus is not None
    assert set(inspect.signature(create_loraplus_optimizer).parameters) >= {"lr", "loraplus_lr_ratio"}
    assert "loraplus_weight_decay" in inspect.getsource(create_loraplus_optimizer)
    assert set(loraplus) == {"lr", "loraplus_lr_ratio", "loraplus_weight_decay"}


def test_what_narrow_layers_are_told_by() -> None:
    assert inspect.signature(bitsandbytes.nn.Params4bit.__new__).parameters["blocksize"].default is None
    packed, state = bitsandbytes.functional.quantize_4bit(torch.zeros(4, 128), quant_type="nf4")
    assert state.blocksize == BLOCK
    assert packed.numel() == 4 * 128 / 2


def test_variants_of_adapters_are_what_they_are_called() -> None:
    made = LoraConfig(**lora_arguments(Lora(use_rslora=True, use_dora=True)))
    assert (made.use_rslora, made.use_dora, made.bias, made.modules_to_save) == (True, True, "none", None)
    hyper = dataclasses.replace(CONFIG, hyperparameters=Hyperparameters(neftune_noise_alpha=5.0, packing=True))
    sft = SFTConfig(**sft_arguments(hyper, CPU, "/tmp/x", has_validation=True))
    assert sft.neftune_noise_alpha == 5.0
    # Rows are masked and packed by our own code; TRL must neither do it again nor undo it.
    assert (sft.packing, sft.padding_free, sft.assistant_only_loss, sft.dataset_kwargs) == (
        False,
        False,
        False,
        {"skip_prepare_dataset": True},
    )


def test_every_choice_exists() -> None:
    assert set(SCHEDULERS) <= {str(kind.value) for kind in SchedulerType}
    assert set(OPTIMIZERS) <= {str(name.value) for name in OptimizerNames}


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.1, 20), (1.0, 200)])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_arguments_are_taken_as_meant(scheduler: str, ratio: float, steps: int) -> None:
    hyper = Hyperparameters(lr_scheduler_type=scheduler, warmup_ratio=ratio)
    made = SFTConfig(
        **sft_arguments(dataclasses.replace(CONFIG, hyperparameters=hyper), CPU, "/tmp/x", has_validation=False)
    )
    assert made.get_warmup_steps(200) == steps
    assert not (made.bf16)
    assert not (made.fp16)
    assert not (made.gradient_checkpointing)
    assert not (made.logging_nan_inf_filter)
    assert made.device.type == "cpu"
    assert (made.report_to, str(made.save_strategy.value), str(made.eval_strategy.value)) == ([], "no", "no")
