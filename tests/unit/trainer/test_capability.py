"""Which GPU computes in what, and which cannot compute here at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kubetune_contract import (
    Dataset,
    ExitCode,
    Hyperparameters,
    KubeTuneError,
    Method,
    ObjectStore,
    Owner,
    TrainConfig,
)
from kubetune_trainer.model.capability import (
    WHEEL_ARCHITECTURES,
    check_capability,
    check_quantisation,
    has_kernels,
    parse,
    precision_for,
)
from kubetune_trainer.model.device import Device, detect

CONFIG = TrainConfig(1, Owner("a", "b", "c"), "s3://m/x", Dataset("s3://d/x"), "s3://o/x", ObjectStore())
CUDA_12_6 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((5, 0), "float32"),
        ((5, 2), "float32"),
        ((5, 3), "float16"),
        ((6, 1), "float16"),
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 6), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_precision_by_compute_capability(capability: tuple[int, int], precision: str) -> None:
    assert precision_for(capability) == precision


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 5), WHEEL_ARCHITECTURES, True),
        ((8, 9), WHEEL_ARCHITECTURES, True),
        ((12, 1), WHEEL_ARCHITECTURES, True),
        ((13, 0), WHEEL_ARCHITECTURES, True),
        ((13, 0), WHEEL_ARCHITECTURES[:-1], False),
        ((7, 0), WHEEL_ARCHITECTURES, False),
        ((6, 1), WHEEL_ARCHITECTURES, False),
        ((6, 1), CUDA_12_6, True),
        ((5, 2), CUDA_12_6, True),
        ((10, 0), CUDA_12_6, False),
        ((9, 0), ("sm_90a",), True),
        ((8, 0), ("sm_86", "gfx90a", "sm_x"), False),
    ],
)
def test_which_binaries_run(capability: tuple[int, int], architectures: tuple[str, ...], runs: bool) -> None:
    assert has_kernels(capability, architectures) is runs


def test_an_old_card_is_refused_with_the_reason() -> None:
    with pytest.raises(
        KubeTuneError, match=r"GTX 970 has compute capability 5\.2, but the PyTorch of this image"
    ) as caught:
        check_capability("GTX 970", (5, 2), WHEEL_ARCHITECTURES)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "GPUTooOld")
    with pytest.raises(KubeTuneError, match="was built for sm_50") as caught:
        check_capability("B200", (10, 0), CUDA_12_6)
    assert caught.value.reason == "GPUTooNew"


@pytest.mark.parametrize(
    ("capability", "method", "optimizer", "said"),
    [
        ((5, 2), Method.QLORA, "adamw_8bit", "for method qlora and optimizer adamw_8bit, needs compute capability 6.0"),
        ((5, 2), Method.LORA, "paged_adamw_32bit", "for optimizer paged_adamw_32bit, needs"),
        ((5, 2), Method.LORA, "adamw_torch", None),
        ((6, 0), Method.QLORA, "adamw_8bit", None),
        (None, Method.QLORA, "adamw_8bit", None),
    ],
)
def test_bitsandbytes_needs_pascal(
    capability: tuple[int, int] | None, method: Method, optimizer: str, said: str | None
) -> None:
    config = dataclasses.replace(CONFIG, method=method, hyperparameters=Hyperparameters(optimizer=optimizer))
    if said is None:
        check_quantisation(capability, config)
        return
    with pytest.raises(KubeTuneError, match=said):
        check_quantisation(capability, config)


def test_capabilities_are_read() -> None:
    assert (parse("8.6"), parse("12.0"), parse("7")) == ((8, 6), (12, 0), (7, 0))


def torch_with(capability: tuple[int, int]) -> Any:
    class FakeTorch:
        """A machine's torch as ``detect`` sees it."""

        class cuda:  # noqa: N801
            """One GPU."""

            is_available = staticmethod(lambda: True)
            get_device_capability = staticmethod(lambda _: capability)
            get_device_name = staticmethod(lambda _: "a card")
            get_arch_list = staticmethod(lambda: list(WHEEL_ARCHITECTURES))

    return FakeTorch


def test_the_card_that_is_there() -> None:
    assert detect(1, torch_with((8, 6))) == Device("cuda", "bfloat16", "a card", (8, 6))
    assert detect(1, torch_with((7, 5))).precision == "float16"
    with pytest.raises(KubeTuneError, match=r"a card has compute capability 6\.1"):
        detect(1, torch_with((6, 1)))
