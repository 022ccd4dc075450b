"""What a GPU's compute capability allows: precision, PyTorch's binaries, bitsandbytes. Pure.

Sources: CUDA C++ programming guide (arithmetic by compute capability), PyTorch's release matrix (its wheels for CUDA 13
begin at 7.5, those for CUDA 12.6 at 5.0), the installation guide of bitsandbytes 0.50 (6.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig

Capability = tuple[int, int]
Precision = Literal["bfloat16", "float16", "float32"]

WHEEL_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
"""What the PyTorch wheel of the published image was built for, where none can be asked."""
_BFLOAT16: Capability = (8, 0)
_HALF: Capability = (5, 3)
_BITSANDBYTES: Capability = (6, 0)
_BITSANDBYTES_OPTIMIZERS = ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit")


def precision_for(capability: Capability) -> Precision:
    """bfloat16 from 8.0 (Ampere) on, float16 down to 5.3, float32 for cards without 16-bit arithmetic.

    Cards before 8.0 only emulate bfloat16, slowly.
    """
    if capability >= _BFLOAT16:
        return "bfloat16"
    return "float16" if capability >= _HALF else "float32"


def parse(text: str) -> Capability:
    """``8.6`` as a pair. Raises ValueError."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def has_kernels(capability: Capability, architectures: Sequence[str]) -> bool:
    """Whether binaries for ``architectures`` (``sm_86``, or ``compute_120`` for PTX) run on such a GPU.

    Machine code runs on later minors of its own major version, PTX on everything later.
    """
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
        if len(digits) < 2 or not digits.isdecimal():
            continue
        built: Capability = (int(digits[:-1]), int(digits[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def check_capability(name: str, capability: Capability, architectures: Sequence[str]) -> None:
    """Raises KubeTuneError (BAD_CONFIG, GPUTooOld) when this PyTorch has nothing for the GPU called ``name``."""
    if has_kernels(capability, architectures):
        return
    raise KubeTuneError(
        ExitCode.BAD_CONFIG,
        "GPUTooOld" if capability < (10, 0) else "GPUTooNew",
        f"{name} has compute capability {_said(capability)}, but the PyTorch of this image was built for "
        f"{', '.join(architectures)}; take another GPU (resources.computeCapability selects nodes), build the image on "
        "a PyTorch that supports it (that for CUDA 12.6 goes down to 5.0), or set resources.gpu to 0",
    )


def check_quantisation(capability: Capability | None, config: TrainConfig) -> None:
    """Raises KubeTuneError (BAD_CONFIG, GPUTooOld) when bitsandbytes is asked for and does not run on the GPU."""
    if capability is None or capability >= _BITSANDBYTES:
        return
    wanted = ["method qlora"] if config.method is Method.QLORA else []
    if config.hyperparameters.optimizer in _BITSANDBYTES_OPTIMIZERS:
        wanted.append(f"optimizer {config.hyperparameters.optimizer}")
    if wanted:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "GPUTooOld",
            f"bitsandbytes, for {' and '.join(wanted)}, needs compute capability {_said(_BITSANDBYTES)}, this GPU has "
            f"{_said(capability)}; use method lora and optimizer adamw_torch",
        )


def _said(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
