"""From what happens in the cluster to keys in the work queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubetune.common.meta import GROUP

from .controller import ANY, Key
from .inventory import Inventory
from .queue import WorkQueue
from .references import References
from .seen import Seen

Object = dict[str, Any]

Turns = Callable[[str, str | None, str], bool]
"""Whether a kind's change from one phase, None for an object that is new, to another may let somebody else of its
namespace have a turn."""


class Intake:
    """Every method is called with one watch event's type and object, and only ever adds keys.

    ``on_gone`` is told of custom resources that were deleted: nothing is left to reconcile, only memory to free.
    ``turns`` is asked about every change of phase.
    """

    def __init__(  # noqa: PLR0913 - everything that an event may concern
        self,
        queue: WorkQueue[Key],
        seen: Seen,
        references: References,
        inventory: Inventory,
        on_gone: Callable[[Key], None],
        *,
        turns: Turns,
    ) -> None:
        self._labels = {f"{GROUP}/{kind.lower()}": kind for kind in inventory.kinds}
        self._queue = queue
        self._seen = seen
        self._references = references
        self._inventory = inventory
        self._on_gone = on_gone
        self._turns = turns

    def custom(self, kind: str, event_type: str | None, obj: Object) -> None:
        """A custom resource appeared, changed or is gone: it is looked at, and so is what refers to it if that matters
        there."""
        metadata = obj["metadata"]
        key = Key(kind, metadata["namespace"], metadata["name"])
        before = self._inventory.phase_of(kind, metadata["uid"])
        phase = self._inventory.note(kind, obj)
        if event_type == "DELETED":
            self._inventory.forget(kind, metadata["uid"])
        if event_type == "DELETED" or (phase != before and self._turns(kind, before, phase)):
            for referrer in self._references.referrers(key._replace(name=ANY)):
                self._queue.add(referrer)
        referrers = self._references.referrers(key)
        if referrers and (self._seen.is_shown_news(obj) or event_type == "DELETED"):
            for referrer in referrers:
                self._queue.add(referrer)
        if event_type == "DELETED":
            self._seen.forget(metadata["uid"])
            self._seen.arrivals.forget(key)
            self._on_gone(key)
        elif self._seen.is_custom_news(obj):
            self._seen.arrivals.note(key, obj)
            self._queue.add(key)

    def child(self, event_type: str | None, obj: Object) -> None:
        """A Job, pod, Deployment or Service of ours: its owner is looked at if the change matters."""
        metadata = obj["metadata"]
        owner = self._owner(metadata)
        if owner is None:
            return
        if event_type == "DELETED":
            self._seen.forget(metadata["uid"])
            self._queue.add(owner)
            return
        self._seen.owners.note(metadata["uid"], owner)
        if self._seen.is_child_news(obj):
            self._queue.add(owner)

    def refusal(self, event_type: str | None, obj: Object) -> None:
        """An Event says that a Job of ours could not create its pod; nothing else would tell."""
        owner = self._seen.owners.of(obj.get("involvedObject", {}).get("uid", ""))
        if owner is not None and event_type != "DELETED":
            self._queue.add(owner)

    def _owner(self, metadata: Object) -> Key | None:
        for label, kind in self._labels.items():
            name = metadata.get("labels", {}).get(label)
            if name:
                return Key(kind, metadata["namespace"], name)
        return None
