"""The same stop watch for every contender: a callback that transformers.Trainer gives to all its instances."""

from __future__ import annotations

import os
import resource
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback, trainer

STARTED = "KUBETUNE_BENCH_STARTED"
"""Variable with the time (seconds since the epoch) at which the parent started the process."""


@dataclass
class Laps:
    """What one training took."""

    first_step_seconds: float | None = None
    """From the start of the process to the end of the first optimizer step."""
    ends: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    saves: list[int] = field(default_factory=list)

    def result(self, useful_tokens: int) -> dict[str, Any]:
        """Rates over all steps but the first, which pays for what is made once."""
        steps = len(self.ends)
        tokens = useful_tokens * (steps - 1) / steps
        durations = [end - begin for begin, end in zip(self.begins, self.ends, strict=True)]
        gaps = [begin - end for end, begin in zip(self.ends, self.begins[1:], strict=False)]
        quiet = [gap for step, gap in enumerate(gaps, 1) if step not in self.saves]
        stalls = [gaps[step - 1] - statistics.median(quiet) for step in self.saves if step <= len(gaps)]
        return {
            "steps": steps,
            "tokensPerSecond": tokens / (self.ends[-1] - self.ends[0]),
            "tokensPerCpuSecond": tokens / (self.cpu[-1] - self.cpu[0]),
            "firstStepSeconds": self.first_step_seconds,
            "stepSeconds": statistics.median(durations),
            "checkpointStallSeconds": statistics.median(stalls) if stalls else None,
            "peakMiB": _peak_mib(),
        }


LAPS = Laps()


class Clock(TrainerCallback):  # type: ignore[misc]
    """Writes into ``LAPS``."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        LAPS.begins.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        LAPS.ends.append(time.perf_counter())
        LAPS.cpu.append(time.process_time())
        if LAPS.first_step_seconds is None and STARTED in os.environ:
            LAPS.first_step_seconds = time.time() - float(os.environ[STARTED])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        LAPS.saves.append(state.global_step)


def install() -> None:
    """Every Trainer made from now on is measured."""
    trainer.DEFAULT_CALLBACKS.append(Clock)


def _peak_mib() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_reserved()) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
