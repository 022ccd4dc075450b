"""A job's configuration together with what it talks to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import TrainConfig, TrainSummary
from kubetune_shared.store import Store
from kubetune_trainer.checkpoints.runstate import RunState
from kubetune_trainer.processes.stop import StopRequest
from kubetune_trainer.reporting.report import Reporter
from kubetune_trainer.tracking.tracker import Tracker


@dataclass(frozen=True)
class Job:
    """One run."""

    config: TrainConfig
    store: Store
    reporter: Reporter
    tracker: Tracker
    stop: StopRequest
    state: RunState


@dataclass(frozen=True)
class Learned:
    """A training that came to its end."""

    results: TrainSummary
    """Without artifact and duration, which are not known yet."""
    save: Callable[[Path], None]
    """Writes the artifact's files into a folder."""
