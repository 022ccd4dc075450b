"""The list ``status.versions``: who answers, who is wanted, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable

from kubetune.common.conditions import ConditionStatus
from kubetune.common.job_status import Failure
from kubetune_contract import Contents

from .api import Reason, Version, VersionState
from .ledger import Ledger, Release
from .plan import Plan
from .pods import ServerPod

_WAITING = {Reason.EVALUATION_NOT_FOUND, Reason.EVALUATION_NOT_FINISHED}
"""Reasons for not being admitted that may pass by themselves; the others are a refusal."""


def list_versions(plan: Plan, pods: Iterable[ServerPod], failure: Failure | None, replicas: int) -> tuple[Version, ...]:
    """The version that answers first."""
    found = {pod.version: pod.contents for pod in pods if pod.ready}
    answering = set(found)
    versions = [*_running(plan.ledger, answering, failure, replicas), *_wanted(plan)]
    ordered = sorted(versions, key=lambda version: version.name not in answering)
    unique = {version.name: version for version in reversed(ordered)}
    return tuple(_with_contents(one, found.get(one.name)) for one in ordered if unique[one.name] is one)


def _with_contents(version: Version, found: Contents | None) -> Version:
    """What is not prescribed is what the pod has found."""
    told = found or Contents()
    return version.model_copy(
        update={
            "content": version.content or told.model,
            "adapter_content": version.adapter_content or told.adapter,
        }
    )


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
        content=release.pinned.model,
        adapter_content=release.pinned.adapter,
        image=release.pods.image if release.pods else None,
        state=state,
        message=message[:4096] if message else None,
    )
