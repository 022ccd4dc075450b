"""The FineTuneJobs of a namespace as whoever waits among them sees them: in what order, and who has a place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.job_status import JobPhase
from kubetune.common.model import format_time
from kubetune.finetunejob.api import FineTuneJob, Reason
from kubetune.finetunejob.api.spec import FitPolicy
from kubetune.runs.read import final_condition, is_suspended
from kubetune.workload.misfit import MISFITS

Object = dict[str, Any]

Order = tuple[str, str]
"""Creation time and name: the earlier one goes first."""


@dataclass(frozen=True)
class Peer:
    """What matters of one FineTuneJob of the namespace."""

    uid: str
    order: Order
    is_alive: bool
    """It has neither ended nor been deleted."""
    is_open: bool
    """It is alive, and nothing but its turn keeps it from running."""
    is_ready: bool
    """It waits for a place: checked, and within the budget."""
    is_in_line: bool
    """It has been told to wait for a place."""
    is_over_budget: bool
    """It has been told to wait for the budget."""
    is_misfit: bool
    """No node can take its pod, as it has been told."""
    spent: float
    estimate: float | None
    """What it will cost in all, as its preflight says."""

    @property
    def ahead(self) -> float:
        """What it will cost yet; 0 when that is not known."""
        return max(0.0, (self.estimate or 0.0) - self.spent)

    @property
    def rank(self) -> tuple[bool, Order]:
        """Who could run goes before who could not."""
        return (self.is_misfit, self.order)


def read_peer(raw: Object) -> Peer:
    """From the FineTuneJob as the API server has it."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions", ())}
    is_alive = not status.get("completionTime") and "deletionTimestamp" not in metadata
    # A pod that a missing Secret holds up has its place all the same.
    is_placed = conditions.get("Scheduled", {}).get("status") == "True"
    is_accepted = is_placed or conditions.get("Accepted", {}).get("status") != "False"
    is_open = is_alive and not spec.get("suspend") and is_accepted
    is_checked = (
        spec.get("preflight", {}).get("fit") == FitPolicy.SKIP
        or conditions.get("Preflighted", {}).get("status") == "True"
    )
    told = conditions.get("Scheduled", {}).get("reason")
    # Without a place the condition of one that no node can take says so, whatever else it waits for.
    waits_for = status.get("queue", {}).get("reason") or told
    needs_place = is_open and not spec.get("queueName")
    return Peer(
        uid=metadata["uid"],
        order=(metadata.get("creationTimestamp", ""), metadata["name"]),
        is_alive=is_alive,
        is_open=is_open,
        is_ready=needs_place and is_checked and waits_for != Reason.BUDGET_EXCEEDED,
        is_in_line=needs_place and told == Reason.QUEUED,
        is_over_budget=is_open and told == Reason.BUDGET_EXCEEDED,
        is_misfit=told in MISFITS,
        spent=status.get("cost", {}).get("amount", 0.0),
        estimate=status.get("preflight", {}).get("cost", {}).get("estimate"),
    )


def makes_room(before: str | None, phase: str) -> bool:
    """Whether a FineTuneJob that goes from one phase to another may give up a place, or its turn in line."""
    return before == JobPhase.QUEUED or phase in {JobPhase.SUSPENDED, JobPhase.SUCCEEDED, JobPhase.FAILED}


def order_of(job: FineTuneJob) -> Order:
    """The job's place in the order of creation."""
    created = job.metadata.creation_timestamp
    return (format_time(created) if created else "", job.metadata.name)


def holders(jobs: Iterable[Object]) -> frozenset[str]:
    """Uids of the FineTuneJobs whose training may have pods: its Job runs, or what it has stopped is still ending."""
    return frozenset(
        reference["uid"]
        for job in jobs
        if final_condition(job) is None and (not is_suspended(job) or _has_pods(job))
        for reference in job["metadata"].get("ownerReferences", ())
        if reference.get("controller")
    )


def _has_pods(job: Object) -> bool:
    status = job.get("status", {})
    return bool(status.get("active") or status.get("terminating"))


@dataclass(frozen=True)
class Room:
    """A namespace as the one who asks finds it."""

    others: tuple[Peer, ...]
    taken: frozenset[str]
    """Uids of those that hold a place already."""
