"""Going on after something went wrong: the run's state is told, and the process replaces itself.

A fresh process has neither a broken CUDA context nor fragmented memory, and takes the same way as a new pod would.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from kubetune_contract import RecoveryStep, TrainConfig
from kubetune_trainer.job import Job
from kubetune_trainer.patience import patiently
from kubetune_trainer.processes.place import Place, Relaunch

from .exhaustion import told
from .ladder import (
    DIVERGENCE,
    OUT_OF_MEMORY,
    Action,
    Rung,
    Settings,
    described,
    effective,
    settings_of,
    taken,
)

FLUSH_SECONDS = 10.0
"""How long the tracker may take before the process replaces itself."""

log = logging.getLogger(__name__)


class Restart(Exception):  # noqa: N818 (no error, but the way out of the training loop)
    """The run shall go on in a fresh process with the settings of the last of ``steps``."""

    def __init__(self, steps: Sequence[RecoveryStep]) -> None:
        super().__init__(steps[-1].message)
        self.steps = tuple(steps)


def effective_config(config: TrainConfig, recovery: Sequence[RecoveryStep]) -> TrainConfig:
    """``config`` with the settings the run goes on with."""
    return dataclasses.replace(config, hyperparameters=effective(config.hyperparameters, recovery))


def lowered(rungs: Iterable[tuple[Rung, str]], at: float, step: int) -> Restart:
    """The restart after running out of memory: each rung with what the allocator said before it was taken."""
    return Restart(
        [taken(rung, OUT_OF_MEMORY, f"{told(said)}; now {described(rung)}", at, step) for rung, said in rungs]
    )


def rolled_back(config: TrainConfig, problem: str, at: float, step: int, checkpoint: int | None) -> Restart:
    """The restart after a divergence: from the last good checkpoint, at half the learning rate."""
    now: Settings = settings_of(config.hyperparameters)
    rung = Rung(Action.ROLLBACK, dataclasses.replace(now, learning_rate=now.learning_rate / 2))
    where = f"the checkpoint of step {checkpoint}" if checkpoint else "the beginning"
    return Restart([taken(rung, DIVERGENCE, f"{problem}; from {where} with {described(rung)}", at, step)])


def restart(job: Job, steps: Sequence[RecoveryStep]) -> NoReturn:
    """Writes ``steps`` to the run's state and starts this command anew in the same process and pod.

    Raises Relaunch where there are several processes, all of which must; KubeTuneError: PREEMPTED when the pod was
    asked to go meanwhile (the next one goes on from here), SUPERSEDED, or UNAVAILABLE when the store stays away.
    """
    record(job, steps)
    job.tracker.pause(FLUSH_SECONDS)
    job.stop.check()
    if Place.here().several:
        raise Relaunch
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that comes between here and the new start's handlers stays pending until those are there.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 (this very command)


def record(job: Job, steps: Sequence[RecoveryStep]) -> None:
    """Writes ``steps`` to the run's state, unless they are there. Raises KubeTuneError as ``restart`` does."""
    for step in steps:
        log.warning("%s at step %d: %s", step.kind, step.step, step.message)
        known = job.state.recovery
        if step not in known:
            patiently(
                lambda step=step: job.state.add_recovery(step),  # type: ignore[misc]
                "noting a recovery",
                job.stop,
                job.reporter,
            )
    job.reporter.recovered(job.state.recovery)
