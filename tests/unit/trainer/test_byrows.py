"""Settings by the number of rows: the documented table, and what holds for every number."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import Hyperparameters
from kubetune_trainer.preflight.byrows import by_rows

ALL = ("num_train_epochs", "gradient_accumulation_steps", "warmup_ratio", "logging_steps")
HYPERS = st.builds(
    Hyperparameters,
    per_device_train_batch_size=st.integers(1, 64),
    gradient_accumulation_steps=st.integers(1, 64),
    num_train_epochs=st.floats(0.1, 20),
    max_steps=st.none() | st.integers(1, 500),
    logging_steps=st.integers(1, 50),
)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "steps", "warmup"),
    [
        (1, 5, 4, 5, 0.1),
        (30, 5, 4, 40, 0.1),
        (100, 4, 4, 100, 0.1),
        (300, 3, 8, 114, 0.1),
        (1000, 3, 16, 189, 0.1),
        (3000, 3, 16, 564, 0.03),
        (10_000, 2, 16, 1250, 0.03),
        (50_000, 1, 16, 3125, 0.03),
    ],
)
def test_the_table_of_the_documentation(rows: int, epochs: int, batch: int, steps: int, warmup: float) -> None:
    hyper, settings = by_rows(rows, Hyperparameters(), ALL, 1)
    assert settings is not None
    rows_per_step = hyper.per_device_train_batch_size * hyper.gradient_accumulation_steps
    assert (hyper.num_train_epochs, rows_per_step, hyper.warmup_ratio) == (epochs, batch, warmup)
    assert math.ceil(rows / rows_per_step) * epochs == steps
    assert f"{batch} rows each" in settings.reason
    assert settings.reason.startswith(f"{rows} row")


def test_the_reason_for_300_rows() -> None:
    _, settings = by_rows(300, Hyperparameters(), ALL, 1)
    assert settings is not None
    assert settings.reason == (
        "300 rows: 3 epochs of 38 steps, 8 rows each (few rows per step make enough steps; three passes, as is usual; "
        "a longer warm-up for a short run)"
    )


@given(st.integers(1, 10**7), HYPERS, st.sets(st.sampled_from(ALL)), st.integers(1, 8))
def test_only_what_is_unset_changes_and_all_of_it_is_told(
    rows: int, hyper: Hyperparameters, unset: set[str], processes: int
) -> None:
    chosen, settings = by_rows(rows, hyper, unset, processes)
    for field in dataclasses.fields(Hyperparameters):
        if field.name not in unset:
            assert getattr(chosen, field.name) == getattr(hyper, field.name), field.name
    told = {name: getattr(settings, name) for name in ALL} if settings else {}
    for name, value in told.items():
        assert value is None or (name in unset and value == getattr(chosen, name))
    for name in unset - {"num_train_epochs"}:
        assert told[name] == getattr(chosen, name)
    assert by_rows(rows, hyper, unset, processes) == (chosen, settings)
    assert len(settings.reason if settings else "") < 300


@given(st.integers(1, 10**6), st.integers(1, 8))
def test_steps_are_neither_too_few_nor_rows_too_often_seen(rows: int, processes: int) -> None:
    hyper, _ = by_rows(rows, Hyperparameters(), ALL, processes)
    batch = hyper.per_device_train_batch_size * hyper.gradient_accumulation_steps * processes
    steps = math.ceil(rows / batch) * hyper.num_train_epochs
    assert 1 <= hyper.num_train_epochs <= 5
    assert steps >= 100 or hyper.num_train_epochs == 5
    # The micro-batch, which memory depends on, stays what it was.
    assert hyper.per_device_train_batch_size == Hyperparameters().per_device_train_batch_size


@given(st.integers(1, 10**6))
def test_nothing_is_decided_where_everything_is_written(rows: int) -> None:
    assert by_rows(rows, Hyperparameters(), (), 1) == (Hyperparameters(), None)
