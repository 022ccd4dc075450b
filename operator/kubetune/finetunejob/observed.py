"""What a FineTuneJob's decision is based on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubetune.common.conditions import Fact
from kubetune.runs.read import JobObservation
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware
from kubetune.workload.inputs import Inputs
from kubetune_contract import TrainProgress

from .api import FineTuneJob, Reason

Object = dict[str, Any]


@dataclass(frozen=True)
class Wait:
    """Why a training does not start yet."""

    reason: Reason
    message: str
    position: int | None = None
    again: float = 30.0
    misfit: Fact | None = None
    """Why no node can take it, where that is so."""


@dataclass(frozen=True)
class Observed:
    """What the controller has read; the default is a cluster in which nothing exists yet."""

    run: JobObservation = field(default_factory=JobObservation)
    """The training's Job."""
    inputs: Inputs = field(default_factory=Inputs)
    """Looked up only while a Job is to be created."""
    progress: TrainProgress | None = None
    """The running pod's answer; None when it gave none."""
    evaluation: Object | None = None
    """The live Evaluation of this job's name, looked up once the training has succeeded."""
    preflight: JobObservation = field(default_factory=JobObservation)
    """The preflight's Job, looked up until the status says that it has passed."""
    hardware: Hardware = field(default_factory=Hardware)
    """The cluster's GPUs, looked up while a Job is to be created that asks for one."""
    wait: Wait | None = None
    """Why the training must not start yet; asked while nothing else keeps it from starting."""
    product: str | None = None
    """The GPU of the pod's node, looked up once for every pod."""


@dataclass(frozen=True)
class Look:
    """One look at a FineTuneJob: everything the decision is a function of."""

    job: FineTuneJob
    observed: Observed
    now: datetime
    settings: Settings
