"""What the FineTuneJobs of a namespace have cost, and whether one more is within its budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kubetune.settings import Settings

from .api import FineTuneJob
from .peers import Peer, Room


@dataclass(frozen=True)
class Bill:
    """Amounts in the settings' currency."""

    budget: float
    spent: float
    """By all of the namespace."""
    kept: float
    """What those that have a place will cost yet."""
    ahead: float
    """What the one that asks will cost yet; 0 when that is not known."""

    @property
    def is_within(self) -> bool:
        committed = self.spent + self.kept
        return committed + self.ahead <= self.budget and (self.ahead > 0 or committed < self.budget)


def bill_of(job: FineTuneJob, estimate: float | None, room: Room, settings: Settings) -> Bill | None:
    """None where there is no budget. ``estimate`` is what the job's preflight thinks it will cost."""
    budget = settings.budgets.get(job.metadata.namespace)
    if budget is None:
        return None
    mine = _spent(job)
    ahead = max(0.0, (estimate or 0.0) - mine)
    return Bill(budget, mine + sum(peer.spent for peer in room.others), _kept(room.others, room), ahead)


def keeps_waiting(job: FineTuneJob, room: Room, settings: Settings) -> bool:
    """Whether somebody waits for the budget who is within it as long as ``job`` has no place."""
    budget = settings.budgets.get(job.metadata.namespace)
    if budget is None:
        return False
    spent, kept = _spent(job) + sum(peer.spent for peer in room.others), _kept(room.others, room)
    waiting = (peer for peer in room.others if peer.is_over_budget and peer.uid not in room.taken)
    return any(Bill(budget, spent, kept, peer.committed - peer.spent).is_within for peer in waiting)


def _spent(job: FineTuneJob) -> float:
    return (job.status.cost.amount if job.status.cost else None) or 0.0


def _kept(peers: Iterable[Peer], room: Room) -> float:
    return sum(peer.committed - peer.spent for peer in peers if peer.is_open and peer.uid in room.taken)
