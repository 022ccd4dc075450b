"""Whether a training may start now: places of a namespace, its budget, and the order of those that wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.model import format_time
from kubetune.settings import Settings
from kubetune.workload.run import final_condition, is_suspended

from .api import FineTuneJob, Reason
from .spec import FitPolicy

Object = dict[str, Any]

NEXT_SECONDS = 5.0
"""Whoever is next looks again this often: a pod that is still stopping keeps its place, and its end is told to nobody
else."""
LATER_SECONDS = 30.0


@dataclass(frozen=True)
class Wait:
    """Why a training does not start yet."""

    reason: Reason
    message: str
    position: int | None = None
    again: float = LATER_SECONDS


@dataclass(frozen=True)
class Peer:
    """What matters of one FineTuneJob of the namespace."""

    uid: str
    order: tuple[str, str]
    """Creation time and name: the earlier one goes first."""
    is_alive: bool
    """It has neither ended nor been deleted."""
    is_open: bool
    """It is alive, and nothing but its turn keeps it from running."""
    is_ready: bool
    """It waits for a place: checked, and within the budget."""
    spent: float
    estimate: float | None
    """What it will cost in all, as its preflight says."""

    @property
    def committed(self) -> float:
        """What it has cost and will have cost once it has run."""
        return max(self.spent, self.estimate or 0.0)


def read_peer(raw: Object) -> Peer:
    """From the FineTuneJob as the API server has it."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions", ())}
    is_alive = not status.get("completionTime") and "deletionTimestamp" not in metadata
    is_open = is_alive and not spec.get("suspend") and conditions.get("Accepted", {}).get("status") != "False"
    is_checked = (
        spec.get("preflight", {}).get("fit") == FitPolicy.SKIP
        or conditions.get("Preflighted", {}).get("status") == "True"
    )
    waits_elsewhere = spec.get("queueName") or conditions.get("Scheduled", {}).get("reason") == Reason.BUDGET_EXCEEDED
    return Peer(
        uid=metadata["uid"],
        order=(metadata.get("creationTimestamp", ""), metadata["name"]),
        is_alive=is_alive,
        is_open=is_open,
        is_ready=is_open and is_checked and not waits_elsewhere,
        spent=status.get("cost", {}).get("amount", 0.0),
        estimate=status.get("preflight", {}).get("cost", {}).get("estimate"),
    )


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


def judge(job: FineTuneJob, estimate: float | None, room: Room, settings: Settings) -> Wait | None:
    """None: it may start. ``estimate`` is what its preflight thinks it will cost."""
    return _check_budget(job, estimate, room, settings) or _check_places(job, room, settings)


def _check_budget(job: FineTuneJob, estimate: float | None, room: Room, settings: Settings) -> Wait | None:
    namespace = job.metadata.namespace
    budget = settings.budgets.get(namespace)
    if budget is None:
        return None
    mine = (job.status.cost.amount if job.status.cost else None) or 0.0
    spent = mine + sum(peer.spent for peer in room.others)
    kept = sum(peer.committed - peer.spent for peer in room.others if peer.is_open and peer.uid in room.taken)
    ahead = max(0.0, (estimate or 0.0) - mine)
    if spent + kept + ahead <= budget and (ahead or spent + kept < budget):
        return None

    def say(amount: float) -> str:
        return f"{amount:.2f} {settings.currency}".strip()

    running = f", and those that run will take about {say(kept)} more" if kept else ""
    this = f"This one is estimated at {say(ahead)}" if ahead else "What this one will cost is not known"
    text = (
        f"The budget of namespace {namespace} is {say(budget)}. Its FineTuneJobs have cost {say(spent)}{running}. "
        f"{this}. Raise cost.budgets.{namespace} in the chart's values, delete FineTuneJobs whose cost need not count "
        "any more, or create this one again with less to do. What runs goes on."
    )
    return Wait(Reason.BUDGET_EXCEEDED, text)


def _check_places(job: FineTuneJob, room: Room, settings: Settings) -> Wait | None:
    limit = settings.max_running_per_namespace
    if not limit or job.spec.queue_name:
        return None
    me = order_of(job)
    ahead = sum(1 for peer in room.others if peer.is_ready and peer.uid not in room.taken and peer.order < me)
    if len(room.taken) + ahead < limit:
        return None
    position = ahead + 1
    text = (
        f"{len(room.taken)} of at most {limit} trainings of namespace {job.metadata.namespace} have a place; this job "
        f"is number {position} in line, by creation time. It starts by itself; suspend or delete another to make room."
    )
    return Wait(Reason.QUEUED, text, position, NEXT_SECONDS if position == 1 else LATER_SECONDS)


def order_of(job: FineTuneJob) -> tuple[str, str]:
    """The job's place in the order of creation."""
    created = job.metadata.creation_timestamp
    return (format_time(created) if created else "", job.metadata.name)
