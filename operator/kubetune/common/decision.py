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
class Decision:
    """The writes that bring the world to what the custom resource asks for.

    ``status`` is the whole desired status, compared with the stored one before it is written; ``requeue_after`` is in
    seconds, None waits for the next event.
    """

    status: dict[str, Any]
    apply: tuple[dict[str, Any], ...] = ()
    delete: tuple[Ref, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
