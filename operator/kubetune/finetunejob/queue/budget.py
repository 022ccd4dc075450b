"""What the FineTuneJobs of a namespace have cost, and whether one more is within its budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubetune.finetunejob.api import FineTuneJob
from kubetune.settings import Settings

from .peers import Room


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
    """What the job would add to its namespace's budget, or None where there is no budget. ``estimate`` is the cost that
    the preflight expects."""
    budget = settings.budgets.get(job.metadata.namespace)
    if budget is None:
        return None
    mine = (job.status.cost.amount if job.status.cost else None) or 0.0
    spent = mine + sum(peer.spent for peer in room.others)
    kept = sum(peer.ahead for peer in room.others if peer.is_open and peer.uid in room.taken)
    return Bill(budget, spent, kept, ahead=max(0.0, (estimate or 0.0) - mine))


def keeps_waiting(job: FineTuneJob, room: Room, settings: Settings) -> bool:
    """Whether somebody waits for the budget who is within it as long as ``job`` has no place."""
    bill = bill_of(job, None, room, settings)
    if bill is None:
        return False
    waiting = (peer for peer in room.others if peer.is_over_budget and peer.uid not in room.taken)
    return any(replace(bill, ahead=peer.ahead).is_within for peer in waiting)
