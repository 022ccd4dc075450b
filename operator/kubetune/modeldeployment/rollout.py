"""Which release a ModelDeployment runs, in which pods: when they change, and the way back from ones that never load.

Only the model is behind the gate. What the spec asks of pods (resources, engine settings) takes effect at once, for
whichever version is active. What the operator adds to them (image, log level, the store's address) moves with a
version or with what the spec asks, never by itself: an upgrade of the operator must not stop what serves. It may where
nothing serves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .ledger import GivenUp, Ledger, Maker, Pods, Release

LOAD_ATTEMPTS = 3
"""Failed starts after which pods that never answered are given up where that frees the place for the ones before."""
MESSAGE_LIMIT = 500
"""Characters kept of the reason why a version was given up; annotations are shared with everybody else's."""


@dataclass(frozen=True)
class Loading:
    """How the active version fares, or why it does not come up."""

    answers: bool = False
    """Whether a pod of the version answers, of whichever pods."""
    has_loaded: bool = False
    """Whether one of the present pods answers."""
    failed_starts: int = 0
    """Of the present pods, but for those that a silent store has failed."""
    is_refused: bool = False
    """Whether they were refused because a folder does not hold what was admitted: trying again cannot help."""
    problem: str = ""
    reason: str = ""
    is_stuck: bool = False
    """Whether nothing answers and the present pods cannot come up as they are: no image, or no files."""


@dataclass(frozen=True)
class Exchange:
    """How pods are exchanged for others."""

    make: Maker
    one_at_a_time: bool
    """The Recreate strategy: the old pods are gone while the new ones load, so ones that never load are replaced by
    those before. A rolling update keeps the old pods until the new ones answer anyway."""
    is_idle: bool = False
    """Whether the deployment has no replicas."""


def advance(ledger: Ledger | None, wanted: Release | None, loading: Loading, exchange: Exchange) -> Ledger | None:
    """The ledger to run by. ``wanted`` is None unless it is resolved and admitted; None is returned when there is
    nothing to run yet."""
    make = exchange.make
    if ledger is None:
        return Ledger(make(wanted)) if wanted else None
    if loading.has_loaded and not ledger.active.loaded:
        ledger = replace(ledger, active=replace(ledger.active, loaded=True))
    if exchange.one_at_a_time and _must_go_back(ledger, loading):
        ledger, loading = _go_back(ledger, loading, make), Loading()
    fresh = make(wanted or ledger.active)
    if _is_asked(ledger.active, fresh):
        if _may_move(ledger, fresh, is_free=exchange.is_idle or loading.is_stuck):
            return _move(ledger, fresh)
        return _keep(ledger, wanted)
    return ledger if was_given_up(ledger, fresh) else _move(ledger, fresh)


def was_given_up(ledger: Ledger, fresh: Release) -> bool:
    """Whether ``fresh`` was tried with what the spec asks now and never loaded."""
    lost = ledger.given_up
    return lost is not None and (lost.version, lost.asked) == (fresh.version, _pods(fresh).asked)


def _is_asked(active: Release, fresh: Release) -> bool:
    return active.version == fresh.version and _pods(active).asked == _pods(fresh).asked


def _may_move(ledger: Ledger, fresh: Release, *, is_free: bool) -> bool:
    """Whether pods that the operator would make differently now are made anew: only where that stops nothing, and
    not those that were given up."""
    new, lost = _pods(fresh).digest, ledger.given_up
    return is_free and new != _pods(ledger.active).digest and not (lost and lost.template == new)


def _keep(ledger: Ledger, wanted: Release | None) -> Ledger:
    """The same pods; who admitted them may have changed. What was given up is told for as long as it is wanted."""
    if wanted is None:
        return ledger
    active = replace(ledger.active, job=wanted.job, evaluation=wanted.evaluation)
    lost = ledger.given_up if was_given_up(ledger, ledger.active) else None
    return replace(ledger, active=active, given_up=lost)


def _move(ledger: Ledger, fresh: Release) -> Ledger:
    if (ledger.active.version, _digest(ledger.active)) == (fresh.version, _digest(fresh)):
        # They are what is asked for already.
        return Ledger(replace(fresh, loaded=ledger.active.loaded), ledger.previous)
    before = ledger.active if ledger.active.loaded else ledger.previous
    is_other = before is not None and (before.version, _digest(before)) != (fresh.version, _digest(fresh))
    return Ledger(fresh, previous=before if is_other else None)


def _must_go_back(ledger: Ledger, loading: Loading) -> bool:
    if ledger.active.loaded or ledger.previous is None:
        return False
    return loading.is_refused or loading.failed_starts >= LOAD_ATTEMPTS


def _go_back(ledger: Ledger, loading: Loading, make: Maker) -> Ledger:
    """The release before in the very pods that had loaded; what was asked of the others counts as answered by them."""
    active, before = ledger.active, ledger.previous
    assert before is not None  # noqa: S101 (_must_go_back has looked)
    asked = _pods(active).asked
    pods = replace(before.pods or _pods(make(before)), asked=asked)
    lost = GivenUp(active.version, _digest(active), loading.problem[:MESSAGE_LIMIT], asked)
    if loading.reason:
        lost = replace(lost, reason=loading.reason)
    return Ledger(replace(before, pods=pods), given_up=lost)


def _digest(release: Release) -> str:
    return release.pods.digest if release.pods else ""


def _pods(release: Release) -> Pods:
    return release.pods or Pods("")
