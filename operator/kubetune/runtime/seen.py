"""Remembers which state of which object was looked at last, so that an Event about it needs no second look.

A hint only: an object that is unknown here is looked at, and the resync looks at everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .arrivals import Arrivals
from .controller import Key
from .event_digest import digest, is_blank, shown_to_others
from .owners import Owners

Object = dict[str, Any]


class Seen:
    """By uid: the resource version and the digest of the state that a reconcile was based on or wrote itself."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.owners = Owners()
        self.keys: set[Key] = set()
        """Custom resources that a pass has found to exist, and that nobody has found to be gone since."""
        self._shown: dict[str, int] = {}
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

    def is_shown_news(self, obj: Object) -> bool:
        """Whether a custom resource has changed in what concerns those that refer to it. Remembers it."""
        uid, value = obj["metadata"]["uid"], shown_to_others(obj)
        known, self._shown[uid] = self._shown.get(uid), value
        return value != known

    def forget(self, uid: str) -> None:
        """The object of that uid is gone."""
        self._custom.pop(uid, None)
        self._shown.pop(uid, None)
        self._children.pop(uid, None)
        self.owners.forget(uid)

    def forget_key(self, key: Key) -> None:
        """The custom resource is gone, and with it whatever it owns."""
        self.keys.discard(key)
        for uid in self.owners.forget_owner(key):
            self._children.pop(uid, None)

    def known_keys(self) -> set[Key]:
        """All custom resources of which anything is remembered, whether they still exist or not."""
        return self.keys | self.owners.keys()

    def prune(self, custom: Iterable[str]) -> None:
        """Drops what may be about objects whose deletion was missed: all custom resources but these, and all children.

        A child that is still there costs one more look when it changes next.
        """
        alive = set(custom)
        self._children.clear()
        for memory in (self._custom, self._shown):
            for uid in [uid for uid in memory if uid not in alive]:
                del memory[uid]


def _version(obj: Object) -> int:
    """Resource versions are comparable as numbers since Kubernetes 1.35, and were in fact since ever (etcd, kine)."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
