"""What makes two runs the same, and what does not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kubetune_contract import (
    Accelerator,
    Dataset,
    Export,
    Hyperparameters,
    Lora,
    Method,
    ObjectStore,
    Owner,
    Placement,
    Recovery,
    Tracking,
    TrainConfig,
    dumps,
    to_json,
)
from kubetune_trainer.identity import (
    DECIDING,
    NOT_DECIDING,
    identify,
    recorded_identity,
    recorded_settings,
    settings_sha256,
)
from tests.support.fields import every_member

CONFIG = TrainConfig(
    1,
    Owner("team", "demo", "uid-1"),
    "s3://models/tiny",
    Dataset("s3://data/x.jsonl", validation_share=0.1),
    "s3://out/uid-1",
    ObjectStore("http://store:7070"),
    hyperparameters=Hyperparameters(max_steps=8, learning_rate=1e-2),
)
OTHERWISE = every_member(Hyperparameters(lr_scheduler_type="linear", optimizer="sgd"))
"""Every field has another value than in CONFIG."""


def changed(**members: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, **members)


@pytest.mark.law("L11")
@pytest.mark.parametrize("part", DECIDING, ids=lambda part: part.__name__)
def test_every_field_of_the_contract_either_decides_or_does_not(part: type) -> None:
    """A new field belongs into one of the lists: does another value of it make another result?"""
    names = {field.name for field in dataclasses.fields(part)}
    assert DECIDING[part].keys() | NOT_DECIDING[part] == names
    assert not DECIDING[part].keys() & NOT_DECIDING[part]


def test_the_digest_stays_what_it_is() -> None:
    """Else every result that is stored would be trained again after an upgrade."""
    assert settings_sha256(CONFIG) == "86194a00362e7e88b0c2fc6663ac806fe040b137dda62db12d8bd37a71647f53"
    assert (
        identify(CONFIG, "ab" * 32, "commit:cd").sha256
        == "07f18c510b4c8fb789c896556689cbd37c79fb107717f71a2a13739595a3396a"
    )
    assert dumps(identify(CONFIG, "ab", "commit:cd").settings) == (
        '{"learningRate":0.01,"maxSteps":8,"validationShare":0.1}'
    )


@pytest.mark.parametrize("name", DECIDING[Hyperparameters])
def test_hyperparameters_that_decide(name: str) -> None:
    members: dict[str, Any] = {name: getattr(OTHERWISE, name)}
    hyper = dataclasses.replace(CONFIG.hyperparameters, **members)
    assert settings_sha256(changed(hyperparameters=hyper)) != settings_sha256(CONFIG)


@pytest.mark.law("L11")
@pytest.mark.parametrize(
    "members",
    [
        {"method": Method.QLORA},
        {"lora": Lora(rank=8)},
        {"lora": Lora(target_modules=("q_proj",))},
        {"dataset": Dataset("s3://data/x.jsonl", validation_share=0.2)},
        {"gpus": 2},
        {"processes": 2},
        {"rerun": "once more"},
    ],
)
def test_what_decides(members: dict[str, Any]) -> None:
    assert settings_sha256(changed(**members)) != settings_sha256(CONFIG)


@pytest.mark.law("L11")
@pytest.mark.parametrize(
    "members",
    [
        {"owner": Owner("other", "name", "uid-2")},
        {"output": "s3://elsewhere/uid-2", "results": "s3://elsewhere/results"},
        {"store": ObjectStore("https://new:443", "eu-west-1")},
        {"base_model": "pvc://models/tiny"},
        {"dataset": Dataset("s3://moved/y.parquet", columns={"prompt": "q"}, validation_share=0.1)},
        {"tracking": Tracking("http://mlflow:5000", "team")},
        {"export": Export(merged=True)},
        {"recovery": Recovery(rollback=True)},
        {"image": "trainer:2", "preset": "code", "dataset_sha256": "ab" * 32},
        {"placement": Placement((Accelerator("NVIDIA-A10", 24 << 30),))},
        {"gpus": 1},
        {"hyperparameters": dataclasses.replace(CONFIG.hyperparameters, logging_steps=1, save_minutes=1.0)},
    ],
)
def test_what_does_not_decide(members: dict[str, Any]) -> None:
    """Store, tracker, logging, export, release and place may change under a run."""
    assert settings_sha256(changed(**members)) == settings_sha256(CONFIG)


def test_an_adapter_decides_only_where_there_is_one() -> None:
    names = ("q_proj", "v_proj")
    assert settings_sha256(changed(lora=Lora(target_modules=names))) == settings_sha256(
        changed(lora=Lora(target_modules=names[::-1]))
    )
    full = changed(method=Method.FULL)
    assert settings_sha256(dataclasses.replace(full, lora=Lora(rank=8))) == settings_sha256(full)


def test_rows_and_base_decide() -> None:
    run = identify(CONFIG, "ab", "commit:cd")
    for other in (identify(CONFIG, "ef", "commit:cd"), identify(CONFIG, "ab", "commit:12")):
        assert other.sha256 != run.sha256
        assert other.settings_sha256 == run.settings_sha256
    assert run.differences(identify(changed(rerun="2", lora=Lora(rank=8)), "ef", "commit:12")) == (
        "rows",
        "base model",
        "rank",
        "rerun",
    )
    assert run.differences(run) == ()


def test_what_a_manifest_says() -> None:
    run = identify(CONFIG, "ab", "commit:cd")
    assert recorded_identity(json.loads(dumps({"run": run}))) == run
    assert recorded_settings({"run": to_json(run)}) == run.settings_sha256
    # A release before identities wrote the whole configuration.
    assert recorded_settings({"configSha256": "12" * 32, "train": to_json(CONFIG)}) == run.settings_sha256
    assert recorded_settings({"configSha256": "12" * 32}) is None
    assert recorded_identity({"run": {"settings": 1}}) is None
    assert recorded_identity({}) is None


def test_the_value_that_is_left_out_does_not_follow_the_contracts_default() -> None:
    """Were a later release to train 2 epochs by default, its runs must not be those of today's 3."""
    usual = changed(hyperparameters=Hyperparameters())
    assert identify(usual, "ab", "x").settings == {"validationShare": 0.1}
    later = changed(hyperparameters=Hyperparameters(num_train_epochs=2.0))
    assert identify(later, "ab", "x").settings == {"validationShare": 0.1, "numTrainEpochs": 2.0}


def test_rows_of_a_file_of_their_own_are_other_rows_when_they_are_trained_on() -> None:
    """The digest of all rows alone would not tell."""
    held_out = dataclasses.replace(CONFIG, dataset=dataclasses.replace(CONFIG.dataset, validation_uri="s3://d/v"))
    runs = [identify(CONFIG, "ab", "x"), identify(held_out, "ab", "x", 10), identify(held_out, "ab", "x", 20)]
    assert len({run.sha256 for run in runs}) == 3
    assert runs[0].differences(runs[1]) == runs[1].differences(runs[2]) == ("rows",)
