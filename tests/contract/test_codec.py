"""What does not follow the contract is refused with the member's path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubetune_contract import (
    ContractError,
    ExitCode,
    FailureSummary,
    Hyperparameters,
    TrainConfig,
    dumps,
    from_json,
    read_config,
    to_json,
)

from .examples import EXAMPLES

LEAST = to_json(EXAMPLES["train-config-least"])


def changed(path: str, value: Any) -> dict[str, Any]:
    """The least TrainConfig with one member replaced; None removes it."""
    data: dict[str, Any] = json.loads(json.dumps(LEAST))
    *parents, last = path.split(".")
    inner = data
    for name in parents:
        inner = inner.setdefault(name, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("owner", None, "owner is required"),
        ("owner.uid", None, "owner.uid is required"),
        ("owner", "me", "owner must be an object, is str"),
        ("method", "dora", "method is 'dora'; known values are lora, qlora, full"),
        ("hyperparameters.learningRate", "1e-4", "hyperparameters.learningRate must be float, is str"),
        ("hyperparameters.maxSteps", 1.5, "hyperparameters.maxSteps must be int, is float"),
        ("hyperparameters.packing", 1, "hyperparameters.packing must be bool, is int"),
        ("hyperparameters.seed", True, "hyperparameters.seed must be int, is bool"),
        ("lora.targetModules", "all-linear", "lora.targetModules must be a list, is str"),
        ("lora.targetModules", ["q_proj", 3], "lora.targetModules[1] must be str, is int"),
        ("dataset.columns", {"prompt": 1}, "dataset.columns.prompt must be str, is int"),
    ],
)
def test_refused_with_its_path(path: str, value: Any, said: str) -> None:
    with pytest.raises(ContractError) as caught:
        from_json(TrainConfig, changed(path, value))
    assert caught.value.message == f"configuration: {said}"
    assert caught.value.code is ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "schema is None"),
        ('{"schema": 2}', "schema is 2, but this image understands 1"),
        ('{"schema": 1}', "owner is required"),
    ],
)
def test_configuration_files(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ContractError, match=said):
        read_config(TrainConfig, path)
    with pytest.raises(ContractError, match="cannot be read"):
        read_config(TrainConfig, tmp_path / "none.json")


def test_read_from_the_environments_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text(dumps(EXAMPLES["train-config"]))
    monkeypatch.setenv("KUBETUNE_CONFIG", str(path))
    assert read_config(TrainConfig) == EXAMPLES["train-config"]


@given(
    st.builds(
        Hyperparameters,
        learning_rate=st.floats(allow_nan=False, allow_infinity=False),
        max_steps=st.none() | st.integers(),
        seed=st.integers(),
        packing=st.booleans(),
        lr_scheduler_type=st.text(),
    )
)
def test_any_value_survives_the_wire(value: Hyperparameters) -> None:
    assert from_json(Hyperparameters, json.loads(dumps(value))) == value


def test_whole_numbers_are_floats_too() -> None:
    assert from_json(Hyperparameters, {"numTrainEpochs": 2}).num_train_epochs == 2.0


@given(st.text(st.characters(exclude_categories=())))
@example("\ud83d")
def test_what_is_read_can_be_written_as_utf_8(text: str) -> None:
    """JSON can escape half of a surrogate pair, and a pod may say anything."""
    told = json.loads(json.dumps({"schema": 1, "reason": "R", "message": text, "exitCode": 70}))
    from_json(FailureSummary, told).message.encode("utf-8")
