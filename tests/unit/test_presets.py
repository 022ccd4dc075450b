"""Presets, defaults and what the user writes, merged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.finetunejob.api import FineTuneJob, FineTuneJobSpec, Hyperparameters, Lora, Preset
from kubetune.finetunejob.api.presets import PRESETS
from kubetune.finetunejob.api.status_types import RowSettings
from kubetune.finetunejob.job.config import build_config
from kubetune.finetunejob.job.effective import (
    DEFAULT_HYPERPARAMETERS,
    DEFAULT_LORA,
    effective,
    in_force,
    unset_hyperparameters,
)
from kubetune.settings import Settings
from kubetune_contract import Method, to_json, train
from tests.support.fields import values
from tests.support.objects import finetunejob

Object = dict[str, Any]


def members(model: type[Lora] | type[Hyperparameters]) -> st.SearchStrategy[dict[str, Any]]:
    """Any choice of members with any values."""
    modules = {"target_modules": st.sampled_from([("q_proj",), ("all-linear",)])}
    found = {name: modules[name] if name in modules else values(field) for name, field in model.model_fields.items()}
    return st.fixed_dictionaries({}, optional=found)


def spec(**more: Any) -> FineTuneJobSpec:
    base = {"base_model": {"uri": "s3://models/tiny"}, "dataset": {"uri": "s3://data/train.jsonl"}}
    return FineTuneJobSpec.model_validate(base | more)


@given(members(Lora), members(Hyperparameters), st.sampled_from([None, *Preset]), st.sampled_from(Method))
def test_what_the_user_wrote_always_wins(
    lora: dict[str, Any], hyperparameters: dict[str, Any], preset: Preset | None, method: Method
) -> None:
    more: dict[str, Any] = {} if method is Method.FULL else {"lora": lora}
    chosen = effective(spec(preset=preset, method=method, hyperparameters=hyperparameters, **more))
    for name, value in hyperparameters.items():
        assert getattr(chosen.hyperparameters, name) == value, name
    assert (chosen.lora is None) is (method is Method.FULL)
    for name, value in lora.items() if chosen.lora else ():
        assert getattr(chosen.lora, name) == value, name


@pytest.mark.parametrize("preset", Preset)
def test_a_presets_values_hold_where_nothing_is_written(preset: Preset) -> None:
    chosen, values = effective(spec(preset=preset)), PRESETS[preset]
    assert chosen.lora is not None
    assert values.lora.model_dump(exclude_none=True).items() <= chosen.lora.model_dump().items()
    assert values.hyperparameters.model_dump(exclude_none=True).items() <= chosen.hyperparameters.model_dump().items()


def test_without_a_preset_the_defaults_are_those_of_the_contract() -> None:
    chosen = effective(spec())
    assert (chosen.lora, chosen.hyperparameters) == (DEFAULT_LORA, DEFAULT_HYPERPARAMETERS)
    assert train.Hyperparameters(**chosen.hyperparameters.model_dump(mode="json")) == train.Hyperparameters()


@pytest.mark.parametrize(("preset", "rate"), [(None, 2e-5), (Preset.SUPPORT, 3e-5), (Preset.CODE, 1e-5)])
def test_method_full_learns_at_a_tenth_of_an_adapters_rate(preset: Preset | None, rate: float) -> None:
    chosen = effective(spec(method="full", preset=preset))
    assert (chosen.lora, chosen.hyperparameters.learning_rate) == (None, rate)
    written = effective(spec(method="full", preset=preset, hyperparameters={"learningRate": 1e-3}))
    assert written.hyperparameters.learning_rate == 1e-3


BY_ROWS = RowSettings(
    reason="30 rows", num_train_epochs=5.0, gradient_accumulation_steps=1, warmup_ratio=0.1, logging_steps=2
)


@given(members(Hyperparameters), st.sampled_from([None, *Preset]))
def test_the_number_of_rows_decides_only_what_nobody_has_set(
    hyperparameters: dict[str, Any], preset: Preset | None
) -> None:
    wanted = spec(preset=preset, hyperparameters=hyperparameters)
    without, chosen = effective(wanted).hyperparameters, effective(wanted, BY_ROWS).hyperparameters
    free = unset_hyperparameters(wanted)
    for name in Hyperparameters.model_fields:
        expected = BY_ROWS if name in free else without
        assert getattr(chosen, name) == getattr(expected, name), name


def test_presets_leave_open_what_they_are_not_about() -> None:
    every = ("num_train_epochs", "gradient_accumulation_steps", "warmup_ratio", "logging_steps")
    assert unset_hyperparameters(spec()) == every
    assert unset_hyperparameters(spec(preset=Preset.SUPPORT)) == every[1:]
    assert unset_hyperparameters(spec(preset=Preset.CODE, hyperparameters={"warmupRatio": 0.0})) == every[3:]


def made_with(text: str | None) -> Object:
    """A training's Job whose pods read this configuration."""
    return {"spec": {"template": {"metadata": {"annotations": {"kubetune.io/config": text}}}}}


@pytest.mark.law("F21")
def test_the_jobs_own_settings_are_those_in_force() -> None:
    """Also where presets and defaults are others by now, or the status that knew what the preflight decided is lost."""
    hyper = train.Hyperparameters(num_train_epochs=5.0, gradient_accumulation_steps=1, learning_rate=0.5)
    made = to_json({"method": "lora", "lora": train.Lora(rank=4), "hyperparameters": hyper})
    shown = in_force(job(), made_with(json.dumps(made)), BY_ROWS)
    assert shown.hyperparameters == Hyperparameters.model_validate(to_json(hyper))
    assert shown.lora == Lora.model_validate(to_json(train.Lora(rank=4)))
    assert in_force(job(), made_with(json.dumps(made | {"method": "full"})), None).lora is None
    for unreadable in (None, {}, made_with("{"), made_with('{"hyperparameters": {"seed": -1}, "lora": {}}')):
        assert in_force(job(), unreadable, BY_ROWS) == effective(spec(), BY_ROWS)


@pytest.mark.law("F21")
def test_a_run_that_has_begun_keeps_its_settings() -> None:
    """Its Job may be made anew by a release with other presets and defaults; its checkpoints are of the old ones."""
    began = effective(spec(), BY_ROWS)
    for attempts, expected in ((1, began), (0, effective(spec()))):
        status = {"attempts": attempts, "effective": began.to_dict()}
        assert in_force(job(status), None, None) == expected
        config = build_config(job(status), Settings())
        assert config.hyperparameters.num_train_epochs == expected.hyperparameters.num_train_epochs


def job(status: Object | None = None) -> FineTuneJob:
    raw = finetunejob()
    raw["metadata"] |= {"uid": "uid-1", "generation": 1}
    return FineTuneJob.parse(raw | {"status": status or {}})
