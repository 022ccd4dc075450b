"""The list ``status.versions``: who answers, who is wanted, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable

from kubetune.common.conditions import ConditionStatus
from kubetune.common.job_status import Failure

from .api import Reason, Version, VersionState
from .plan import Plan
from .pods import ServerPod
from .rollout import Ledger, Release

_WAITING = {Reason.EVALUATION_NOT_FOUND, Reason.EVALUATION_NOT_FINISHED}
"""Reasons for not being admitted that may pass by themselves; the others are a refusal."""


def list_versions(plan: Plan, pods: Iterable[ServerPod], failure: Failure | None, replicas: int) -> tuple[Version, ...]:
    """The version that answers first."""
    answering = {pod.version for pod in pods if pod.ready}
    versions = [*_running(plan.ledger, answering, failure, replicas), *_wanted(plan)]
    ordered = sorted(versions, key=lambda version: version.name not in answering)
    unique = {version.name: version for version in reversed(ordered)}
    return tuple(version for version in ordered if unique[version.name] is version)


def _running(ledger: Ledger | None, answering: set[str], failure: Failure | None, replicas: int) -> Iterable[Version]:
    if ledger is None:
        return
    active, previous = ledger.active, ledger.previous
    if active.version in answering:
        yield _version(active, VersionState.ACTIVE)
    elif replicas == 0:
        yield _version(active, VersionState.STOPPED, "spec.replicas is 0")
    elif failure and ledger.given_up is None:
        yield _version(active, VersionState.FAILED, failure.message)
    else:
        yield _version(active, VersionState.ACTIVE, "is being loaded")
    if previous and previous.version in answering:
        yield _version(previous, VersionState.ACTIVE, f"answers until version {active.version} has loaded")


def _wanted(plan: Plan) -> Iterable[Version]:
    if plan.wanted is None or plan.runs_as_wanted:
        return
    lost = plan.ledger.given_up if plan.ledger else None
    if lost and lost.version == plan.wanted.version and plan.admitted.status is ConditionStatus.TRUE:
        yield _version(plan.wanted, VersionState.FAILED, lost.message)
    elif plan.admitted.reason in _WAITING:
        yield _version(plan.wanted, VersionState.PENDING, plan.admitted.message)
    else:
        yield _version(plan.wanted, VersionState.REJECTED, plan.admitted.message)


def _version(release: Release, state: VersionState, message: str | None = None) -> Version:
    return Version(
        name=release.version,
        uri=release.model.uri,
        adapter_uri=release.model.adapter_uri,
        state=state,
        message=message[:4096] if message else None,
    )
