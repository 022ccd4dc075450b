"""What must hold between the fields of a configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kubetune_contract import (
    Dataset,
    ExitCode,
    Hyperparameters,
    KubeTuneError,
    Lora,
    Method,
    ObjectStore,
    Owner,
    Recovery,
    RowFormat,
    TrainConfig,
)
from kubetune_trainer.validate import validate

PLAIN = Dataset("s3://data/x")
HELD = Dataset("s3://data/x", validation_share=0.1)
CONFIG = TrainConfig(1, Owner("team", "demo", "uid"), "s3://models/tiny", PLAIN, "s3://out/uid/", ObjectStore())
NAN, INFINITE = float("nan"), float("inf")


def config(hyper: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, hyperparameters=Hyperparameters(**(hyper or {})), **changes)


@pytest.mark.parametrize(
    "good",
    [
        config(),
        config({"eval_steps": 5, "early_stopping_patience": 2, "load_best_model_at_end": True}, dataset=HELD),
        config({"eval_steps": 5}, dataset=Dataset("s3://data/x", validation_uri="s3://data/y")),
        config({"neftune_noise_alpha": 5.0, "save_minutes": 0.0}),
        config(lora=Lora(use_rslora=True, use_dora=True, loraplus_lr_ratio=16.0), method=Method.QLORA),
        config({"fsdp": True}, method=Method.FULL, gpus=2),
        config({"fsdp": True}, method=Method.FULL, processes=2),
        config(gpus=8, processes=8),
        config(dataset=Dataset("s3://data/x", RowFormat.SHAREGPT, {"conversations": "talk"}, system_prompt="s")),
    ],
)
def test_what_goes_together(good: TrainConfig) -> None:
    validate(good)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (config({"eval_steps": 5}), "eval_steps needs validation rows: set dataset.validation_share"),
        (config({"early_stopping_patience": 2, "eval_steps": 5}), "early_stopping_patience needs validation rows"),
        (config({"load_best_model_at_end": True}, dataset=HELD), "load_best_model_at_end needs evaluations on the way"),
        (config({"early_stopping_patience": 2}, dataset=HELD), "early_stopping_patience needs evaluations on the way"),
        (config({"early_stopping_patience": 0}), "early_stopping_patience must be at least 1, is 0"),
        (config({"early_stopping_threshold": -1.0}), "early_stopping_threshold must not be negative"),
        (config({"save_minutes": -1.0}), "save_minutes must not be negative, is -1.0"),
        (config({"save_minutes": NAN}), "save_minutes must not be negative, is nan"),
        (config({"save_total_limit": 0}), "save_total_limit must be at least 1, is 0"),
        (config({"neftune_noise_alpha": 0.0}), "neftune_noise_alpha must be above 0"),
        (config({"neftune_noise_alpha": INFINITE}), "neftune_noise_alpha must be above 0"),
        (config(lora=Lora(loraplus_lr_ratio=0.0)), "lora.loraplus_lr_ratio must be above 0, is 0.0"),
        (config(lora=Lora(use_dora=True), method=Method.FULL), "lora.use_dora needs an adapter: use method lora"),
        (config(lora=Lora(use_rslora=True), method=Method.FULL), "lora.use_rslora needs an adapter"),
        (config(lora=Lora(loraplus_lr_ratio=2.0), method=Method.FULL), "lora.loraplus_lr_ratio needs an adapter"),
        (config({"fsdp": True}, gpus=2), "fsdp is for method full, not lora"),
        (config({"fsdp": True}, method=Method.FULL, gpus=1), "fsdp needs at least 2 processes"),
        (
            config({"fsdp": True, "optimizer": "adamw_8bit"}, method=Method.FULL, gpus=2),
            "fsdp needs optimizer adamw_torch or adamw_torch_fused",
        ),
        (config(gpus=9), "gpus must be in [0, 8], is 9"),
        (config(processes=0), "processes must be in [1, 8], is 0"),
        (config(gpus=2, processes=4), "processes must equal gpus, one each: they are 4 and 2"),
        (config(recovery=Recovery(loss_sigmas=-1.0)), "recovery.loss_sigmas must not be negative"),
        (config(recovery=Recovery(patience=0)), "recovery.patience must be at least 1"),
        (config(dataset=Dataset("s3://data/x", columns={"question": "prompt"})), "unknown member question"),
        (config(dataset=Dataset("s3://data/x", RowFormat.TEXT, system_prompt="s")), "no place in plain text"),
    ],
)
def test_what_does_not(bad: TrainConfig, said: str) -> None:
    with pytest.raises(KubeTuneError) as caught:
        validate(bad)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "InvalidConfig")
    assert said in caught.value.message
