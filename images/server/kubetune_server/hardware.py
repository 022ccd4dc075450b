"""What this container runs on."""

from __future__ import annotations

import logging

from kubetune_shared.cpus import computes_bfloat16, cpu_limit, memory_limit

from .serve_args import Gpu, Machine

log = logging.getLogger(__name__)


def machine(gpus: int) -> Machine:
    """``gpu`` is None when none is asked for or none answers."""
    return Machine(cpu_limit(), memory_limit(), computes_bfloat16(), _gpu() if gpus else None)


def _gpu() -> Gpu | None:
    """Asks the driver directly: importing torch for this would take seconds and memory."""
    try:
        import pynvml  # noqa: PLC0415 (the image for CPU nodes has none)

        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            return Gpu(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), (int(major), int(minor)))
        finally:
            pynvml.nvmlShutdown()
    except Exception as error:  # the driver's library raises its own types, and may be missing altogether
        log.warning("no GPU answers: %s", error)
        return None
