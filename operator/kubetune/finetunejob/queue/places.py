"""Decides whether a training may start now, by the namespace's places, its budget, and the order of those that wait.

A training whose pod no node can take is let in only while nobody else wants its place, because it cannot use it; it
gives the place back as soon as somebody does. It is let in at all because a waiting pod is what makes a cluster add a
node, and because an admission webhook may know better than the nodes' labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubetune.common.conditions import Fact
from kubetune.finetunejob.api import FineTuneJob, Reason
from kubetune.finetunejob.observed import Wait
from kubetune.settings import Settings

from .budget import Bill, bill_of, keeps_waiting
from .peers import Room, order_of

NEXT_SECONDS = 5.0
"""Whoever is next looks again this often: a pod that is still stopping keeps its place, and its end is told to nobody
else."""
LATER_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """A training that wants a place, or wants to keep the one it has."""

    job: FineTuneJob
    estimate: float | None = None
    """What its preflight thinks it will cost."""
    misfit: Fact | None = None
    """Why no node can take its pod."""


def judge(request: Request, room: Room, settings: Settings) -> Wait | None:
    """Returns why the training has to wait, or None when it may start."""
    wait = _check_budget(request, room, settings) or _check_places(request, room, settings)
    if wait is None and request.misfit:
        wait = _check_others_budget(request, room, settings)
    return wait and replace(wait, misfit=request.misfit)


def reconsider(request: Request, room: Room, settings: Settings) -> Wait | None:
    """Returns why a training whose pod has not begun must give back its place, or None when it keeps it.

    Only trainings that have been told to wait can claim the place: the others may yet turn out not to want it.
    """
    if request.misfit is None:
        return None
    order = order_of(request.job)
    # Several that no node can take give back no more places than are wanted; the youngest go first.
    younger = {peer.uid for peer in room.others if peer.is_misfit and peer.is_ready and peer.order > order}
    taken = room.taken - younger - {request.job.metadata.uid}
    others = tuple(peer for peer in room.others if peer.is_in_line or peer.uid in taken)
    wait = _check_places(request, Room(others, taken), settings) or _check_others_budget(request, room, settings)
    return wait and replace(wait, misfit=request.misfit)


def _check_budget(request: Request, room: Room, settings: Settings) -> Wait | None:
    bill = bill_of(request.job, request.estimate, room, settings)
    if bill is None or bill.is_within:
        return None
    return Wait(Reason.BUDGET_EXCEEDED, _describe(bill, request.job.metadata.namespace, settings.currency))


def _describe(bill: Bill, namespace: str, currency: str) -> str:
    def say(amount: float) -> str:
        return f"{amount:.2f} {currency}".strip()

    running = f", and those that run will take about {say(bill.kept)} more" if bill.kept else ""
    this = f"This one is estimated at {say(bill.ahead)}" if bill.ahead else "What this one will cost is not known"
    return (
        f"The budget of namespace {namespace} is {say(bill.budget)}. Its FineTuneJobs have cost {say(bill.spent)}"
        f"{running}. {this}. Raise cost.budgets.{namespace} in the chart's values, delete FineTuneJobs whose cost need "
        "not count any more, or create this one again with less to do. What runs goes on."
    )


def _check_others_budget(request: Request, room: Room, settings: Settings) -> Wait | None:
    if request.job.spec.queue_name or not keeps_waiting(request.job, room, settings):
        return None
    namespace = request.job.metadata.namespace
    text = f"No node can take it, so the budget of namespace {namespace} is left to another one. It starts by itself."
    return Wait(Reason.QUEUED, text)


def _check_places(request: Request, room: Room, settings: Settings) -> Wait | None:
    job, limit = request.job, settings.max_running_per_namespace
    if not limit or job.spec.queue_name:
        return None
    me = (request.misfit is not None, order_of(job))
    ahead = sum(1 for peer in room.others if peer.is_ready and peer.uid not in room.taken and peer.rank < me)
    if len(room.taken) + ahead < limit:
        return None
    position = ahead + 1
    order = "behind those that a node can take" if request.misfit else "by creation time"
    text = (
        f"{len(room.taken)} of at most {limit} trainings of namespace {job.metadata.namespace} have a place; this job "
        f"is number {position} in line, {order}. It starts by itself; suspend or delete another to make room."
    )
    return Wait(Reason.QUEUED, text, position, NEXT_SECONDS if position == 1 else LATER_SECONDS)
