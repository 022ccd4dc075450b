"""What the run computes on, asked of NVIDIA's management library and the kernel; never of torch, and never fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kubetune_shared.cpus import cpu_limit


def describe(gpus: int, library: Any = None) -> str:
    """For people: ``1 x NVIDIA GeForce RTX 3060 (12.0 GiB)`` or the processor's name with its share of cores."""
    if gpus:
        names = [f"{name} ({total / 2**30:.1f} GiB)" for name, total in _gpus(gpus, library)]
        if names:
            return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
        return f"{gpus} GPU"
    return f"CPU: {processor()}, {cpu_limit()} cores"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model's name, as the kernel tells it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), os.uname().machine)


class GpuLoad:
    """How busy the process's first GPU is; answers None wherever the library or a driver for it is missing."""

    def __init__(self, uuid: str | None, library: Any = None) -> None:
        """``uuid`` as torch tells it, with or without ``GPU-``; None means the first GPU of the container."""
        self._library = library or _library()
        self._handle = self._find(uuid) if self._library else None
        self._samples: list[float] = []

    def sample(self) -> None:
        """Takes one reading; costs microseconds."""
        if self._handle is None:
            return
        try:
            self._samples.append(self._library.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100)
        except self._library.NVMLError:  # a MIG slice, for one, has no such counter
            self._handle = None

    def mean(self) -> float | None:
        """Mean of the readings since the last call, in [0, 1]."""
        taken, self._samples = self._samples, []
        return round(sum(taken) / len(taken), 4) if taken else None

    def _find(self, uuid: str | None) -> Any:
        try:
            self._library.nvmlInit()
            if uuid is None:
                return self._library.nvmlDeviceGetHandleByIndex(0)
            return self._library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        except self._library.NVMLError:
            return None


def _library() -> Any:
    try:
        import pynvml  # noqa: PLC0415 (only where there may be a GPU)
    except ImportError:
        return None
    return pynvml


def _gpus(count: int, library: Any) -> list[tuple[str, int]]:
    """Name and memory in bytes of the container's first ``count`` GPUs."""
    library = library or _library()
    if library is None:
        return []
    try:
        library.nvmlInit()
        handles = [library.nvmlDeviceGetHandleByIndex(n) for n in range(min(count, library.nvmlDeviceGetCount()))]
        return [
            (str(library.nvmlDeviceGetName(handle)), int(library.nvmlDeviceGetMemoryInfo(handle).total))
            for handle in handles
        ]
    except library.NVMLError:
        return []
