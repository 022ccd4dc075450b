"""The whole behaviour of a ModelDeployment as one pure function of what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from kubetune.common.conditions import get_condition
from kubetune.common.decision import Decision
from kubetune.common.reasons import Shared
from kubetune.runs.status import Stamp
from kubetune.settings import Settings

from .api import DeploymentCondition, ModelDeployment
from .drift import is_in_step
from .ledger import Ledger, Release, read_ledger, with_pods
from .plan import RECHECK_SECONDS, Observed, Plan, Present, make_plan
from .pods import loading_of, read_pods
from .resources import VERSION_LABEL, build_deployment, build_service, with_fresh_pods
from .rollout import Loading
from .status import View, describe, needs_another_look

Object = dict[str, Any]


def decide(deployment: ModelDeployment, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""

    # Where the settings name none, the cluster does.
    settings = replace(settings, runtime_class=settings.runtime_class or observed.runtime_class)

    def make(release: Release) -> Release:
        return with_fresh_pods(deployment, release, settings)

    live = observed.ours(deployment)
    pods = read_pods(observed.pods, observed.warnings, observed.placement)
    before = read_ledger(*live)
    if before:
        before = with_pods(before, live[0], VERSION_LABEL, make, is_applied=_was_applied(deployment))
    loading = loading_of(pods, before.active.version, _digest(before)) if before else Loading()
    plan = make_plan(deployment, observed, Present(before, loading, make), settings)
    fresh = make(plan.ledger.active).pods if plan.ledger else None
    view = View(plan, pods, _digest(plan.ledger), live[0], fresh.image if fresh else None)
    status, events = describe(deployment, view, Stamp(now, deployment.metadata.generation), settings)
    return Decision(
        status=status.to_dict(),
        apply=_children(deployment, observed, plan),
        events=events,
        requeue_after=RECHECK_SECONDS if needs_another_look(status) else None,
    )


def _was_applied(deployment: ModelDeployment) -> bool:
    """Whether the stored status is that of the present spec, and its children were not refused."""
    status = deployment.status
    accepted = get_condition(status.conditions, DeploymentCondition.ACCEPTED)
    is_refused = accepted is not None and accepted.reason in _UNAPPLIED
    return status.observed_generation == deployment.metadata.generation and not is_refused


_UNAPPLIED = {Shared.INVALID_SPEC, Shared.NAME_CONFLICT, Shared.CREATION_REFUSED}


def _digest(ledger: Ledger | None) -> str:
    return ledger.active.pods.digest if ledger and ledger.active.pods else ""


def _children(deployment: ModelDeployment, observed: Observed, plan: Plan) -> tuple[Object, ...]:
    """The children that are missing or differ from what the plan says."""
    if plan.ledger is None or plan.is_held:
        return ()
    live_deployment, live_service = observed.ours(deployment)
    wanted = (
        (build_service(deployment, plan.ledger), live_service),
        (build_deployment(deployment, plan.ledger), live_deployment),
    )
    return tuple(desired for desired, live in wanted if not is_in_step(desired, live))
