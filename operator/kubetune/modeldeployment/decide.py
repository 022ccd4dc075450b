"""The whole behaviour of a ModelDeployment as one pure function of what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from kubetune.common.decision import Decision
from kubetune.runs.status import Stamp
from kubetune.settings import Settings

from .api import ModelDeployment
from .drift import is_in_step
from .plan import RECHECK_SECONDS, Observed, Plan, make_plan
from .pods import loading_of, read_pods
from .resources import build_deployment, build_service, pods_of, template_digest
from .rollout import Loading, Release, read_ledger
from .status import View, describe, needs_another_look

Object = dict[str, Any]


def decide(deployment: ModelDeployment, observed: Observed, now: datetime, settings: Settings) -> Decision:
    """Feeding the result back changes nothing."""

    # Where the settings name none, the cluster does.
    settings = replace(settings, runtime_class=settings.runtime_class or observed.runtime_class)

    def digest(release: Release) -> str:
        return template_digest(pods_of(deployment, release, settings))

    pods = read_pods(observed.pods, observed.warnings, observed.placement)
    before = read_ledger(*observed.ours(deployment))
    loading = loading_of(pods, before.active.version, digest(before.active)) if before else Loading()
    plan = make_plan(deployment, observed, loading, digest, settings)
    template = digest(plan.ledger.active) if plan.ledger else ""
    view = View(plan, pods, template, observed.ours(deployment)[0])
    status, events = describe(deployment, view, Stamp(now, deployment.metadata.generation), settings)
    return Decision(
        status=status.to_dict(),
        apply=_children(deployment, observed, plan, settings),
        events=events,
        requeue_after=RECHECK_SECONDS if needs_another_look(status) else None,
    )


def _children(deployment: ModelDeployment, observed: Observed, plan: Plan, settings: Settings) -> tuple[Object, ...]:
    """The children that are missing or differ from what the plan says."""
    if plan.ledger is None or plan.is_held:
        return ()
    template = pods_of(deployment, plan.ledger.active, settings)
    live_deployment, live_service = observed.ours(deployment)
    wanted = (
        (build_service(deployment, plan.ledger), live_service),
        (build_deployment(deployment, template, plan.ledger), live_deployment),
    )
    return tuple(desired for desired, live in wanted if not is_in_step(desired, live))
