"""Out of memory in one of several training processes: its note, and the step down that all take after a new start.

The others wait for it in the middle of a step, so nothing can be agreed on there: the process leaves a note and ends,
the launcher ends the others and starts all anew, and the first of them takes the next rung of the ladder for all.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kubetune_trainer.job import Job
from kubetune_trainer.processes.place import told_by

from .exhaustion import exhausted, out_of_memory
from .ladder import Action, next_rung, settings_of
from .restart import effective_config, lowered, record


@dataclass(frozen=True)
class Shortfall:
    """What a process met."""

    said: str
    """By the allocator."""
    step: int
    """Optimizer steps done before."""
    device: Literal["cuda", "cpu"]


def note(shortfall: Shortfall) -> None:
    """Leaves it for the next start; whichever process is last to do so is as good as any."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    scratch = _path().with_suffix(".new")
    scratch.write_text(json.dumps(asdict(shortfall)), encoding="utf-8")
    scratch.replace(_path())


def noted() -> Shortfall | None:
    """The note of the start before; None when there is none."""
    try:
        return Shortfall(**json.loads(_path().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def step_down(job: Job) -> None:
    """Goes one rung down where the start before ran out of memory.

    Raises KubeTuneError (OUT_OF_MEMORY) when there is none, or the ladder is not wanted.
    """
    met = noted()
    if met is None:
        return
    config = effective_config(job.config, job.state.recovery)
    if not config.recovery.adapt_to_memory:
        raise out_of_memory(met.said, config, None)
    rung = next_rung(settings_of(config.hyperparameters), met.device)
    # bitsandbytes' optimizers cannot keep the state of sharded weights.
    if rung is None or (config.hyperparameters.fsdp and rung.action is Action.OPTIMIZER_8BIT):
        raise exhausted(met.said, config, None)
    record(job, lowered([(rung, met.said)], time.time(), met.step).steps)
    _path().unlink()


def _path() -> Path:
    return Path(told_by(0)).with_name("shortfall.json")
