"""The memory ladder: every rung is lower, the effective batch never changes, and it ends."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import Hyperparameters
from kubetune_trainer.recovery.ladder import (
    FULL_STATE,
    OUT_OF_MEMORY,
    Action,
    Settings,
    described,
    effective,
    next_rung,
    rungs_below,
    settings_of,
    smaller_micro_batch,
    taken,
)
from kubetune_trainer.validate import OPTIMIZERS

Kind = Literal["cuda", "cpu"]


def settings(
    micro: int = 4, accumulation: int = 2, *, checkpointing: bool = False, optim: str = "adamw_torch"
) -> Settings:
    return Settings(micro, accumulation, checkpointing, optim, 2e-4)


@pytest.mark.parametrize(
    ("micro", "accumulation", "path"),
    [
        (8, 1, [(4, 2), (2, 4), (1, 8)]),
        (3, 2, [(1, 6)]),
        (5, 1, [(1, 5)]),
        (6, 1, [(3, 2), (1, 6)]),
        (7, 3, [(3, 7), (1, 21)]),
        (12, 5, [(6, 10), (3, 20), (1, 60)]),
        (1, 16, []),
    ],
)
def test_the_micro_batch_goes_down_to_one(micro: int, accumulation: int, path: list[tuple[int, int]]) -> None:
    below = [rung for rung in rungs_below(settings(micro, accumulation), "cpu") if rung.action is Action.HALVE_BATCH]
    sizes = [(r.settings.per_device_train_batch_size, r.settings.gradient_accumulation_steps) for r in below]
    assert sizes == path


@pytest.mark.parametrize(("device", "optimizer"), [("cuda", "paged_adamw_8bit"), ("cpu", "adamw_8bit")])
def test_the_whole_ladder(device: Kind, optimizer: str) -> None:
    rungs = list(rungs_below(settings(2, 1), device))
    assert [rung.action for rung in rungs] == ["halveBatch", "gradientCheckpointing", "optimizer8bit"]
    assert rungs[-1].settings == Settings(1, 2, True, optimizer, 2e-4)
    assert next_rung(rungs[-1].settings, device) is None


def test_an_optimizer_with_little_state_is_kept() -> None:
    assert set(OPTIMIZERS) >= FULL_STATE
    for optim in set(OPTIMIZERS) - FULL_STATE:
        assert next_rung(settings(1, checkpointing=True, optim=optim), "cuda") is None


@given(
    st.integers(1, 4096),
    st.integers(1, 512),
    st.booleans(),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(["cuda", "cpu"]),
)
def test_every_rung_is_lower_and_keeps_the_batch(
    micro: int, accumulation: int, checkpointing: bool, optim: str, device: Kind
) -> None:
    now = settings(micro, accumulation, checkpointing=checkpointing, optim=optim)
    before, batch = now, now.effective_batch
    rungs = list(rungs_below(now, device))
    assert len(rungs) <= micro.bit_length() + 1
    for rung in rungs:
        after = rung.settings
        assert after.effective_batch == batch
        assert after.learning_rate == now.learning_rate
        assert after.per_device_train_batch_size * 2 <= before.per_device_train_batch_size or (
            after.per_device_train_batch_size == before.per_device_train_batch_size == 1
        )
        assert after != before
        before = after
    assert before.per_device_train_batch_size == 1
    assert before.gradient_checkpointing
    assert before.optimizer not in FULL_STATE


@given(st.integers(2, 5000), st.integers(1, 50))
def test_a_smaller_micro_batch_divides_the_batch(micro: int, accumulation: int) -> None:
    smaller = smaller_micro_batch(micro, micro * accumulation)
    assert 1 <= smaller <= micro // 2
    assert micro * accumulation % smaller == 0


def test_the_last_recovery_holds() -> None:
    hyper = Hyperparameters(per_device_train_batch_size=4, gradient_accumulation_steps=4)
    assert effective(hyper, ()) is hyper
    rungs = list(rungs_below(settings_of(hyper), "cpu"))
    steps = [taken(rung, OUT_OF_MEMORY, described(rung), 1.0, 7) for rung in rungs]
    lowered = effective(hyper, steps)
    assert settings_of(lowered) == rungs[-1].settings == settings_of(steps[-1])
    assert (lowered.max_sequence_length, lowered.seed) == (hyper.max_sequence_length, hyper.seed)
    assert "the effective batch stays 16" in steps[0].message
    assert "starts anew" in steps[-1].message
