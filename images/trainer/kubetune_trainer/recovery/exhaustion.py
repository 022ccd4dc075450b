"""Out of memory: how it is recognised, what it is told as, and what a user can lower. Pure but for ``peak_vram``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig

from .ladder import FULL_STATE, Settings, settings_of

_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "could not create a memory object",
)
"""What torch, cuBLAS, cuDNN and oneDNN say in plain RuntimeErrors when an allocation fails."""
_TRIED = re.compile(r"[Tt]ried to allocate (?:(?P<bytes>\d+) bytes|(?P<size>[\d.]+) (?P<unit>[KMG]iB))")
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
GIB = 2**30


@dataclass(frozen=True)
class Shortage:
    """What was measured once nothing could be lowered any more."""

    longest: int
    """Tokens of the longest rows."""
    fits: int | None
    """Tokens of the longest rows that fit; None when not even the shortest do."""
    missing: float | None
    """Bytes that the longest rows need in addition."""


def peak_vram(torch: Any) -> int | None:
    """Bytes of GPU memory torch held at the most; None without a GPU in use."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    return int(torch.cuda.max_memory_reserved()) or None


def is_out_of_memory(error: BaseException, torch: Any) -> bool:
    """True for what torch and Python raise when an allocation fails, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def wanted_bytes(said: str) -> float | None:
    """The size of the allocation that failed, where the allocator names it."""
    found = _TRIED.search(said)
    if not found:
        return None
    return float(found["bytes"]) if found["bytes"] else float(found["size"]) * _UNITS[found["unit"]]


def told(said: str) -> str:
    """An allocator's words in a few."""
    size = wanted_bytes(said)
    return f"{size / GIB:.2f} GiB could not be allocated" if size is not None else said.strip().partition("\n")[0][:120]


def out_of_memory(said: str, config: TrainConfig, peak: int | None) -> KubeTuneError:
    """The failure with the settings that would help, most effective first."""
    first = said.strip().partition("\n")[0]
    used = f" Peak GPU memory was {peak / GIB:.1f} GiB." if peak else ""
    return KubeTuneError(
        ExitCode.OUT_OF_MEMORY, "OutOfMemory", f"{first}.{used} To need less: {'; '.join(remedies(config))}"
    )


def exhausted(said: str, config: TrainConfig, shortage: Shortage | None) -> KubeTuneError:
    """The failure of a run (``config`` as lowered) in which there is nothing left to lower by itself."""
    now = settings_of(config.hyperparameters)
    parts = [f"{told(said)}, with everything lowered that can be ({_lowered(now)})"]
    if shortage:
        parts.append(_measured(shortage, wanted_bytes(said)))
    parts.append(f"To need less: {'; '.join(remedies(config, shortage))}")
    return KubeTuneError(ExitCode.OUT_OF_MEMORY, "OutOfMemory", ". ".join(parts))


def remedies(config: TrainConfig, shortage: Shortage | None = None) -> list[str]:
    """What can still be lowered, in the order of what it costs."""
    hyper = config.hyperparameters
    batch, accumulation = hyper.per_device_train_batch_size, hyper.gradient_accumulation_steps
    found = []
    if not hyper.gradient_checkpointing:
        found.append("set gradientCheckpointing: true")
    if batch > 1:
        found.append(
            f"lower perDeviceTrainBatchSize from {batch} to {batch // 2} and raise gradientAccumulationSteps from "
            f"{accumulation} to {accumulation * 2} (same result, less memory)"
        )
    if shortage and shortage.fits:
        found.append(f"set maxSequenceLength: {shortage.fits}")
    if config.method is Method.FULL:
        found.append("use method lora or qlora")
    elif config.method is Method.LORA:
        found.append("use method qlora")
    if not (shortage and shortage.fits):
        found.append(f"lower maxSequenceLength (now {hyper.max_sequence_length})")
    found.append("take a smaller base model, or more memory")
    return found


def state_bytes(optimizer: str, weights: list[tuple[int, int]], device: str) -> int:
    """Bytes the state of ``optimizer`` takes on ``device`` for trained weights of (elements, bytes per element).

    Paged state lies in CUDA's unified memory, which makes room for everything else.
    """
    if device == "cuda" and optimizer.startswith("paged_"):
        return 0
    if optimizer in FULL_STATE:
        return sum(2 * elements * width for elements, width in weights)
    if optimizer.endswith("adamw_8bit"):
        # Two codes of a byte each; bitsandbytes keeps float32 for tensors below 4096 elements.
        return sum(elements * (2 if elements >= 4096 else 8) for elements, _ in weights)
    return 0


def _lowered(now: Settings) -> str:
    checkpointing = "gradientCheckpointing: true" if now.gradient_checkpointing else "no gradient checkpointing"
    return f"perDeviceTrainBatchSize {now.per_device_train_batch_size}, {checkpointing}, optimizer {now.optimizer}"


def _measured(shortage: Shortage, wanted: float | None) -> str:
    missing = shortage.missing if shortage.missing is not None else wanted
    about = "about" if shortage.missing is not None else "at least"
    need = f"need {about} {missing / GIB:.2f} GiB more" if missing is not None else "do not fit"
    rest = f"rows of up to {shortage.fits} tokens fit" if shortage.fits else "not even short rows fit"
    return f"The longest rows, of {shortage.longest} tokens, {need}; {rest}"
