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


KINDS = (
    Kind(
        FineTuneJob,
        FINETUNEJOB,
        lambda parts: FineTuneJobController(parts.settings, parts.polls, ProgressSeries(parts.metrics.registry)),
    ),
    Kind(Evaluation, EVALUATION, lambda parts: EvaluationController(parts.settings, parts.polls)),
    Kind(ModelDeployment, MODELDEPLOYMENT, lambda parts: ModelDeploymentController(parts.settings)),
)
CUSTOM = tuple(kind.resource for kind in KINDS)


def controllers(parts: Parts) -> dict[str, AnyController]:
    """The controller of every kind, by its name."""
    return {kind.resource.kind: kind.control(parts) for kind in KINDS}
