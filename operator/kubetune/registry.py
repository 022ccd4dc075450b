"""The kinds of custom resources, declared once: watches, controllers and CRDs follow from here.

A new kind is an entry here, its folder, and its Resource in ``kube.kinds``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubetune.common import meta
from kubetune.evaluation.api import Evaluation
from kubetune.evaluation.controller import EvaluationController
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.controller import FineTuneJobController
from kubetune.finetunejob.queue.peers import makes_room
from kubetune.finetunejob.report.series import ProgressSeries
from kubetune.kube.kinds import EVALUATION, FINETUNEJOB, MODELDEPLOYMENT, Resource
from kubetune.modeldeployment.api import ModelDeployment
from kubetune.modeldeployment.controller import ModelDeploymentController
from kubetune.runtime.controller import AnyController
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.polls import Polls
from kubetune.settings import Settings


@dataclass(frozen=True)
class Parts:
    """What controllers are built with."""

    settings: Settings
    polls: Polls
    metrics: Metrics


@dataclass(frozen=True)
class Kind:
    """One kind of custom resource."""

    api: type[meta.Resource]
    """Its users' view, from which its CRD is generated."""
    resource: Resource
    """Where the API server serves it."""
    control: Callable[[Parts], AnyController]
    """Builds its controller."""
    makes_room: Callable[[str | None, str], bool] = lambda _before, _phase: False
    """Whether a change of its phase may let another one of its namespace have a turn."""


KINDS = (
    Kind(
        FineTuneJob,
        FINETUNEJOB,
        lambda parts: FineTuneJobController(parts.settings, parts.polls, ProgressSeries(parts.metrics.registry)),
        makes_room,
    ),
    Kind(Evaluation, EVALUATION, lambda parts: EvaluationController(parts.settings, parts.polls)),
    Kind(ModelDeployment, MODELDEPLOYMENT, lambda parts: ModelDeploymentController(parts.settings)),
)
CUSTOM = tuple(kind.resource for kind in KINDS)


def turns(kind: str, before: str | None, phase: str) -> bool:
    """``runtime.intake.Turns`` of all kinds."""
    return any(one.makes_room(before, phase) for one in KINDS if one.resource.kind == kind)


def controllers(parts: Parts) -> dict[str, AnyController]:
    """The controller of every kind, by its name."""
    return {kind.resource.kind: kind.control(parts) for kind in KINDS}
