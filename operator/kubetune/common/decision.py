"""What a kind's pure ``decide`` returns and its controller carries out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ref:
    """Identifies one object of the API server."""

    api_version: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event to post on the custom resource; ``warning`` selects the Event's type."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Patch:
    """A JSON merge patch of one child, for the few fields that may change on an otherwise immutable object."""

    ref: Ref
    body: dict[str, Any]


@dataclass(frozen=True)
class Stop:
    """Ends something before the patches are made: a pod by eviction, with a grace of its own, or an object by deletion,
    which waits for its children."""

    ref: Ref
    grace_seconds: int | None = None
    """Of a pod."""


@dataclass(frozen=True)
class Decision:
    """The writes that bring the world to what the custom resource asks for, in the order they are carried out.

    ``status`` is the whole desired status, compared with the stored one before it is written; ``requeue_after`` is in
    seconds, None waits for the next event.
    """

    status: dict[str, Any]
    create: tuple[dict[str, Any], ...] = ()
    """Children that never change after their creation (Jobs, Evaluations): a plain create, which unlike server-side
    apply can never overwrite somebody else's object of the same name."""
    apply: tuple[dict[str, Any], ...] = ()
    """Children that are kept in step (Deployments, Services): server-side apply of the fields we own."""
    stop: tuple[Stop, ...] = ()
    patch: tuple[Patch, ...] = ()
    delete: tuple[Ref, ...] = ()
    events: tuple[Event, ...] = ()
    """Posted only after the status has been written."""
    refused: str = ""
    """What is said first when the API server refuses one of these writes; the status before stays otherwise."""
    requeue_after: float | None = None
