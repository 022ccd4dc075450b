"""From the plan and the pods to the status of a ModelDeployment and the Events about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubetune.common.conditions import ConditionStatus, Fact, get_condition, is_true
from kubetune.common.decision import Event
from kubetune.common.job_status import Failure
from kubetune.common.labels import selector
from kubetune.common.reasons import Shared
from kubetune.common.sentences import sentences
from kubetune.common.wording import explain_refusal, refusal_reason
from kubetune.runs.status import Stamp, accepted_unless, set_facts, transitions
from kubetune.settings import Settings
from kubetune.workload.pods import condition

from .api import DeploymentCondition, DeploymentPhase, ModelDeployment, ModelDeploymentStatus, Reason
from .plan import Plan
from .pods import ServerPod
from .resources import base_model_name, endpoint
from .versions import list_versions

Object = dict[str, Any]

TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE

_UNDERWAY = {
    Reason.FETCHING,
    Reason.LOADING,
    Shared.WAITING,
    Shared.UNSCHEDULABLE,
    Shared.NO_NODE_WITH_GPU,
}
"""Reasons for not having loaded that are no failure of the version."""
_UNTOLD = {
    Reason.FETCHING,
    Reason.LOADING,
    Reason.LOADED,
    Reason.ROLLING_OUT,
    Reason.NO_GATE,
    Reason.FINE_TUNE_JOB_NOT_FINISHED,
    Reason.EVALUATION_NOT_FINISHED,
}
"""What is meant to happen needs no Event; the conditions tell it."""


@dataclass(frozen=True)
class View:
    """Everything the status is made from."""

    plan: Plan
    pods: tuple[ServerPod, ...]
    template: str
    """Digest of the template the pods should have."""
    deployment: Object | None
    fresh_image: str | None = None
    """Engine image of pods that would be made now."""

    @property
    def current(self) -> tuple[ServerPod, ...]:
        """Pods made as the plan wants them."""
        return tuple(pod for pod in self.pods if pod.template == self.template)

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods)

    @property
    def serves_previous(self) -> bool:
        """Whether a version answers, and not the one that the spec stands for."""
        answering = {pod.version for pod in self.pods if pod.ready}
        return bool(answering) and (self.plan.asked not in answering or self.plan.is_back)


def describe(
    deployment: ModelDeployment, view: View, stamp: Stamp, settings: Settings
) -> tuple[ModelDeploymentStatus, tuple[Event, ...]]:
    """The whole status, and Events about what is new in it."""
    loaded = _loaded(deployment, view)
    ready = _ready(deployment, view, loaded, settings)
    failure = _failure(view, loaded)
    facts = {
        DeploymentCondition.ACCEPTED: accepted_unless(view.plan.accepted, loaded.reason, failure, loaded.message),
        DeploymentCondition.ADMITTED: view.plan.admitted,
        DeploymentCondition.LOADED: loaded,
        DeploymentCondition.READY: ready,
    }
    old = deployment.status.conditions
    conditions = set_facts(old, facts, stamp)
    active = view.plan.ledger.active if view.plan.ledger else None
    replicas = deployment.spec.replicas
    versions = list_versions(view.plan, view.pods, failure, replicas)
    status = ModelDeploymentStatus(
        observed_generation=stamp.generation,
        conditions=conditions,
        phase=_phase(deployment, view, ready, failure),
        endpoint=endpoint(deployment, settings) if active else None,
        model_name=deployment.metadata.name if active else None,
        base_model_name=base_model_name(deployment, active) if active else None,
        version=versions[0].name if active else None,
        versions=versions,
        ready=f"{view.ready}/{replicas}",
        ready_replicas=view.ready,
        available_image=_available_image(view),
        selector=selector(deployment.info, deployment.metadata.name),
        failure=failure,
    )
    return status, tuple(event for event in transitions(old, conditions) if event.reason not in _UNTOLD)


def _available_image(view: View) -> str | None:
    pods = view.plan.ledger.active.pods if view.plan.ledger else None
    return view.fresh_image if pods and pods.image != view.fresh_image else None


def needs_another_look(status: ModelDeploymentStatus) -> bool:
    """Whether something may change without an event that reaches this object."""
    accepted = get_condition(status.conditions, DeploymentCondition.ACCEPTED)
    if accepted is not None and accepted.reason in {
        Shared.CLAIM_NOT_FOUND,
        Shared.SECRET_NOT_FOUND,
        Shared.NAME_CONFLICT,
    }:
        return True
    if status.phase is DeploymentPhase.SERVING_PREVIOUS:
        return is_true(status.conditions, DeploymentCondition.ADMITTED)
    return status.phase in {DeploymentPhase.LOADING, DeploymentPhase.FAILED} and status.endpoint is not None


def _loaded(deployment: ModelDeployment, view: View) -> Fact:
    plan, replicas = view.plan, deployment.spec.replicas
    if not plan.runs_as_wanted or plan.ledger is None:
        return _why_not_wanted(view)
    if replicas == 0:
        return Fact(FALSE, Reason.SCALED_TO_ZERO, "spec.replicas is 0, so nothing is loaded.")
    version, loaded = plan.ledger.active.version, sum(pod.loaded for pod in view.current)
    tally = f"{min(loaded, replicas)} of {replicas} pods have loaded version {version}."
    if loaded >= replicas:
        return Fact(TRUE, Reason.LOADED, tally)
    obstacle = _creation_problem(view.deployment) or _refusal(plan) or _obstacle(view.current)
    return Fact(FALSE, obstacle.reason, f"{tally} {obstacle.message}")


def _why_not_wanted(view: View) -> Fact:
    plan, lost = view.plan, _given_up(view.plan)
    if lost:
        return Fact(FALSE, lost.reason, lost.message)
    blocker = _refusal(plan) or plan.admitted
    return Fact(FALSE, blocker.reason, blocker.message)


def _refusal(plan: Plan) -> Fact | None:
    """Why no pod is made, when nothing of the spec is accepted."""
    return None if plan.accepted.status is TRUE else plan.accepted


def _ready(deployment: ModelDeployment, view: View, loaded: Fact, settings: Settings) -> Fact:
    replicas = deployment.spec.replicas
    if loaded.status is not TRUE:
        serves = _who_serves(view)
        parts = (loaded.message, serves) if view.plan.runs_as_wanted else (serves, loaded.message)
        return Fact(FALSE, loaded.reason, sentences(*parts))
    ready = sum(pod.ready for pod in view.current)
    if ready < replicas:
        return Fact(FALSE, Shared.WAITING, sentences(f"{ready} of {replicas} pods answer /health", _who_serves(view)))
    leftover = [pod.name for pod in view.pods if pod.template != view.template and pod.ready]
    if leftover:
        return Fact(
            FALSE, Reason.ROLLING_OUT, f"Pods of the version or settings before still answer: {', '.join(leftover)}."
        )
    name = deployment.metadata.name
    return Fact(
        TRUE, Reason.READY, f"{replicas} of {replicas} pods answer at {endpoint(deployment, settings)} as {name!r}."
    )


def _who_serves(view: View) -> str:
    """Who answers although the wanted version does not (yet)."""
    outdated = sorted({pod.version for pod in view.pods if pod.ready and pod.template != view.template})
    current = sorted({pod.version for pod in view.current if pod.ready})
    if current and not view.plan.runs_as_wanted:
        return f"Version {', '.join(current)} goes on serving."
    if outdated:
        return f"Version {', '.join(outdated)} serves until then."
    return "" if current or not view.plan.ledger else "Nothing answers at present."


def _obstacle(pods: tuple[ServerPod, ...]) -> Fact:
    """The worst that holds any of the pods back: a failure, else what is stuck, else what is on its way."""
    waiting = [pod.fact for pod in pods if not pod.loaded]
    failed = [pod.fact for pod in pods if pod.failure]
    stuck = [fact for fact in waiting if fact.reason not in _UNDERWAY]
    return next(iter((*failed, *stuck, *waiting)), Fact(FALSE, Shared.WAITING, "Waiting for the pods to be created."))


def _creation_problem(deployment: Object | None) -> Fact | None:
    """Why the API server refuses the Deployment's pods, when it does."""
    refused = condition(deployment, "ReplicaFailure") if deployment else None
    if refused is None or refused["status"] != "True":
        return None
    text = explain_refusal(refused.get("message", ""))
    return Fact(FALSE, refusal_reason(text), text)


def _given_up(plan: Plan) -> Failure | None:
    """Why the wanted version does not run although it is admitted."""
    lost = plan.ledger.given_up if plan.ledger else None
    if lost is None or plan.wanted is None or lost.version != plan.wanted.version:
        return None
    before = "the pods before were brought back" if plan.is_back else "the version before was brought back"
    what = "was refused" if lost.reason == Reason.CONTENT_CHANGED else "failed to load again and again"
    text = (
        f"Version {lost.version} {what}, so {before}. Change engine settings, resources or model to have it tried "
        f"again, or spec.revision once the cause is gone. {lost.message}"
    )
    return Failure(reason=lost.reason, message=text)


def _failure(view: View, loaded: Fact) -> Failure | None:
    lost = _given_up(view.plan)
    if lost or not view.plan.runs_as_wanted or _refusal(view.plan):
        return lost
    if loaded.status is TRUE or loaded.reason in _UNDERWAY or loaded.reason == Reason.SCALED_TO_ZERO:
        return None
    own = next((pod.failure for pod in view.current if pod.failure), None)
    return own or Failure(reason=loaded.reason, message=loaded.message)


def _phase(deployment: ModelDeployment, view: View, ready: Fact, failure: Failure | None) -> DeploymentPhase:
    if ready.status is TRUE:
        return DeploymentPhase.READY
    if deployment.spec.replicas == 0 and view.plan.ledger:
        return DeploymentPhase.STOPPED
    if view.serves_previous:
        return DeploymentPhase.SERVING_PREVIOUS
    if failure or view.plan.accepted.reason == Reason.FINE_TUNE_JOB_FAILED:
        return DeploymentPhase.FAILED
    if not view.plan.runs_as_wanted:
        return DeploymentPhase.PENDING
    return DeploymentPhase.LOADING
