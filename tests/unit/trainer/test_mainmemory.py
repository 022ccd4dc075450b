"""Main memory of a training on a CPU: a verdict as on a GPU, with an interval that says what is not known."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import (
    Dataset,
    ExitCode,
    Fit,
    Hyperparameters,
    KubeTuneError,
    Method,
    ObjectStore,
    Owner,
    Recovery,
    TrainConfig,
)
from kubetune_trainer.preflight.fit import verdict
from kubetune_trainer.preflight.mainmemory import GIB, MIB, asked_for, check_memory, judge_main, need
from kubetune_trainer.preflight.shapes import ModelShape

from .published import MODELS, Llama

SMALL = Llama(hidden=192, ffn=512, layers=4, heads=4, groups=2, vocabulary=2000, tied=True).shape
"""Of 2.4 million parameters, as the demo's first model was."""
SHAPES = [SMALL, MODELS["Qwen2.5-0.5B"].shape]


def config(**hyper: object) -> TrainConfig:
    settings = {"per_device_train_batch_size": 4, "max_sequence_length": 256, **hyper}
    return TrainConfig(
        1,
        Owner("team", "job", "uid"),
        "s3://models/x",
        Dataset("s3://data/x"),
        "s3://out/x",
        ObjectStore(),
        hyperparameters=Hyperparameters(**settings),  # type: ignore[arg-type]
    )


@pytest.mark.walk("W6")
@pytest.mark.walk("C16")
@pytest.mark.parametrize(
    ("limit", "fit"),
    [(300 * MIB, Fit.DOES_NOT_FIT), (600 * MIB, Fit.TIGHT), (2 * GIB, Fit.FITS), (16 * GIB, Fit.FITS)],
    ids=["300Mi", "600Mi", "2Gi", "16Gi"],
)
def test_the_walks_model(limit: int, fit: Fit) -> None:
    """600Mi was killed, 2Gi worked: the first is told beforehand, the second is not warned about."""
    said = verdict(config(), SMALL, limit)
    assert said.fit is fit, said.message
    assert said.memory is not None
    assert (said.memory.available, said.memory.accelerator) == (limit, None)
    assert ("set spec.resources.memory: " in said.message) is (fit is not Fit.FITS)


def test_a_pod_that_the_libraries_do_not_fit_into_is_refused_before_they_are_loaded() -> None:
    with pytest.raises(KubeTuneError, match=r"set spec\.resources\.memory: 1280Mi or more") as caught:
        check_memory(300 * MIB)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "InvalidConfig")
    check_memory(600 * MIB)


@pytest.mark.walk("W6")
def test_what_is_proposed_fits() -> None:
    for shape in SHAPES:
        wanted = need(config(), shape)
        proposed = asked_for(wanted.most)
        size = int(proposed[:-2]) * (GIB if proposed.endswith("Gi") else MIB)
        assert judge_main(wanted, size) is Fit.FITS, proposed


@given(
    st.sampled_from(SHAPES),
    st.sampled_from(Method),
    st.integers(1, 64),
    st.integers(16, 4096),
    st.booleans(),
    st.booleans(),
)
def test_the_interval_holds_the_estimate_and_grows_with_the_work(
    shape: ModelShape, method: Method, batch: int, length: int, checkpointing: bool, adapt: bool
) -> None:
    job = config(per_device_train_batch_size=batch, max_sequence_length=length, gradient_checkpointing=checkpointing)
    job = dataclasses.replace(job, method=method, recovery=Recovery(adapt_to_memory=adapt))
    wanted = need(job, shape)
    assert 0 < wanted.least <= wanted.likely <= wanted.most
    longer = dataclasses.replace(job.hyperparameters, max_sequence_length=2 * length)
    assert need(dataclasses.replace(job, hyperparameters=longer), shape).likely > wanted.likely
    two = need(dataclasses.replace(job, processes=2), shape)
    assert two.likely == 2 * wanted.likely
    stubborn = need(dataclasses.replace(job, recovery=Recovery(adapt_to_memory=False)), shape)
    assert stubborn.least >= wanted.least
