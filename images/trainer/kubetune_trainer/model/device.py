"""What the training runs on, and in which precision. Pure but for ``detect``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Literal

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.cpus import computes_bfloat16, cpu_limit

from .capability import Capability, Precision, check_capability, precision_for


@dataclass(frozen=True)
class Device:
    """``cuda`` or ``cpu`` with the precision of its matrix products."""

    kind: Literal["cuda", "cpu"]
    precision: Precision
    name: str = "CPU"
    capability: Capability | None = None
    index: int = 0
    """Of the GPU among those the process sees."""


def visible_devices(gpus: int, current: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for a job of ``gpus``, given its present value.

    More of them than processes would make transformers wrap the model in DataParallel, which TRL refuses.
    """
    known = current.split(",") if current else [str(number) for number in range(gpus)]
    return ",".join(known[:gpus])


def detect(gpus: int, torch: Any, index: int = 0) -> Device:
    """The device for a job that asked for ``gpus``: the one at ``index``, one for each training process.

    Raises KubeTuneError (BAD_CONFIG): NoGPU when it asked for more than are visible, as hours on a CPU by accident
    would be worse than a message; GPUTooOld or GPUTooNew when torch has no code for it.
    """
    if gpus == 0:
        return Device("cpu", "bfloat16" if computes_bfloat16() else "float32")
    if not torch.cuda.is_available():
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "NoGPU",
            "a GPU was asked for, but none is visible in the pod; check that the node has the NVIDIA driver and "
            "container toolkit and that runtimeClassName is set where the cluster needs it, or set resources.gpu to 0",
        )
    if gpus > 1 and torch.cuda.device_count() < gpus:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "NoGPU",
            f"{gpus} GPUs were asked for, but {torch.cuda.device_count()} are visible in the pod; check the node's "
            "device plugin (one that shares a GPU by time-slicing gives the same one several times), or lower "
            "resources.gpu",
        )
    name, capability = torch.cuda.get_device_name(index), tuple(torch.cuda.get_device_capability(index))
    check_capability(name, capability, torch.cuda.get_arch_list())
    return Device("cuda", precision_for(capability), name, capability, index)


def as_begun(device: Device, recorded: str | None, *, has_checkpoint: bool) -> Device:
    """``device`` in the precision in which the run began, as far as it has that; ``recorded`` is the run's own record.

    A run that stays on CPUs is bitwise the same however often it is resumed, so that of the node must not decide. One
    with a checkpoint and no record is of a release that computed in 32 bits on every CPU.
    """
    in_32_bits = recorded == "float32" or (recorded is None and has_checkpoint)
    return dataclasses.replace(device, precision="float32") if device.kind == "cpu" and in_32_bits else device


def threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS where it is set, else one per core of the container's share."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else cpu_limit()
