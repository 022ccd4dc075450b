"""Looks over the shoulder of a training: waiting, GPU memory and load, and what they suggest. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from kubetune_trainer.recovery.exhaustion import peak_vram
from kubetune_trainer.tracking.tracker import Tracker

from .hardware import GpuLoad
from .report import Reporter
from .signs import Signs, memory_near_limit


class Observer:
    """Told of a step's end last, so that the others' work after it is not taken for waiting."""

    def __init__(self, reporter: Reporter, tracker: Tracker) -> None:
        self._reporter, self._tracker = reporter, tracker
        self._signs = Signs()
        self._load = GpuLoad(_uuid()) if _on_gpu() else None
        self._idle_since: float | None = None
        self._began: float | None = None
        self._waited = 0.0

    def step_began(self) -> None:
        """A batch is there."""
        self._began = time.monotonic()
        self._waited = self._began - self._idle_since if self._idle_since is not None else 0.0

    def step_ended(self) -> None:
        """Looks at the step."""
        now = time.monotonic()
        if self._load:
            self._load.sample()
        # The first step also fetches what a resumed run skips.
        if self._began is not None and self._idle_since is not None:
            self._reporter.suggest(self._signs.stepped(self._waited, now - self._began + self._waited))
        self._idle_since = time.monotonic()

    def logged(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """Looks at what was logged after ``step`` of ``steps``, and at the GPU."""
        self._reporter.suggest(self._signs.logged(step, steps, values))
        if _on_gpu():
            reserved, load = int(torch.cuda.memory_reserved()), self._load.mean() if self._load else None
            self._reporter.gpu(reserved, load)
            self._reporter.suggest(
                memory_near_limit(peak_vram(torch), torch.cuda.get_device_properties(0).total_memory)
            )
            self._tracker.metrics({"gpu_reserved_bytes": reserved, "gpu_utilization": load}, step)
        self.rested()

    def rested(self) -> None:
        """What has passed since the step went into something else than data."""
        if self._idle_since is not None:
            self._idle_since = time.monotonic()


def _on_gpu() -> bool:
    return bool(torch.cuda.is_available() and torch.cuda.is_initialized())


def _uuid() -> str | None:
    found = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    return str(found) if found else None
