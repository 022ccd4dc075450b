"""Remembers which state of which object was looked at last, so that an Event about it needs no second look.

A hint only: an object that is unknown here is looked at, and the resync looks at everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .arrivals import Arrivals
from .event_digest import digest, is_blank

Object = dict[str, Any]


class Seen:
    """By uid: the resource version and the digest of the state that a reconcile was based on or wrote itself."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self._custom: dict[str, int] = {}
        self._children: dict[str, tuple[int, int]] = {}

    def note_custom(self, obj: Object) -> None:
        self._custom[obj["metadata"]["uid"]] = _version(obj)

    def note_child(self, obj: Object) -> None:
        self._children[obj["metadata"]["uid"]] = (_version(obj), digest(obj))

    def is_custom_news(self, obj: Object) -> bool:
        """Whether a custom resource is newer than what was read or written."""
        return _version(obj) > self._custom.get(obj["metadata"]["uid"], -1)

    def is_child_news(self, obj: Object) -> bool:
        """Whether a child is newer than the state looked at, in something that matters. Remembers it."""
        uid, version, value = obj["metadata"]["uid"], _version(obj), digest(obj)
        known = self._children.get(uid)
        if known is not None and version <= known[0]:
            return False
        self._children[uid] = (version, value)
        return not is_blank(obj) if known is None else known[1] != value

    def forget(self, uid: str) -> None:
        self._custom.pop(uid, None)
        self._children.pop(uid, None)

    def prune(self, custom: Iterable[str]) -> None:
        """Drops what may be about objects whose deletion was missed: all custom resources but these, and all children.

        A child that is still there costs one more look when it changes next.
        """
        alive = set(custom)
        self._children.clear()
        for uid in [uid for uid in self._custom if uid not in alive]:
            del self._custom[uid]


def _version(obj: Object) -> int:
    """Resource versions are comparable as numbers since Kubernetes 1.35, and were in fact since ever (etcd, kine)."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
