"""Every argument we set exists in the libraries' pinned versions, and does there what we rely on."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from peft import LoraConfig
from transformers import BitsAndBytesConfig
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from trl import SFTConfig

from kubetune_contract import Dataset, Hyperparameters, Lora, ObjectStore, Owner, TrainConfig
from kubetune_trainer.device import Device
from kubetune_trainer.sft import lora_arguments, quantization_arguments, sft_arguments
from kubetune_trainer.validate import OPTIMIZERS, SCHEDULERS

CONFIG = TrainConfig(1, Owner("a", "b", "c"), "s3://m/x", Dataset("s3://d/x"), "s3://o/x", ObjectStore())
CPU = Device("cpu", "float32")


def test_every_argument_exists() -> None:
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    assert not set(sft_arguments(CONFIG, CPU, "/tmp/x", has_validation=True)) - known
    assert not set(lora_arguments(Lora())) - {field.name for field in dataclasses.fields(LoraConfig)}
    assert not set(quantization_arguments(CPU)) - set(inspect.signature(BitsAndBytesConfig).parameters)


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
