"""Which of a run's training processes this one is, told by the variables that torchrun, too, would set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kubetune_contract import TrainConfig
from kubetune_trainer.workspace import work_dir

RELAUNCH = 100
"""Exit code between a training process and its launcher, never a pod's: start all of them anew."""


class Relaunch(SystemExit):
    """All training processes of the run shall start anew."""

    def __init__(self) -> None:
        super().__init__(RELAUNCH)


@dataclass(frozen=True)
class Place:
    """``rank`` of ``world`` processes, all of them on one node."""

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> Place:
        """This process's own."""
        env = os.environ if environment is None else environment
        return cls(int(env.get("RANK", "0")), int(env.get("WORLD_SIZE", "1")))

    @property
    def several(self) -> bool:
        """True when there are others."""
        return self.world > 1

    @property
    def first(self) -> bool:
        """True for the one that talks: to the store, the tracker, and whoever asks for progress."""
        return self.rank == 0


def processes(config: TrainConfig) -> int:
    """How many processes the run trains with: one per GPU, and one on the CPU unless told otherwise."""
    return config.processes or max(1, config.gpus)


def told_by(rank: int) -> str:
    """Path of the file in which a training process leaves its termination message for the launcher."""
    return str(work_dir() / "ranks" / f"{rank}.json")
