"""Which custom resource a child belongs to, for Events that name the child alone."""

from __future__ import annotations

from collections.abc import Set

from .controller import Key


class Owners:
    """A map in both directions between uids of children and the keys of their owners."""

    def __init__(self) -> None:
        self._owner: dict[str, Key] = {}
        self._children: dict[Key, set[str]] = {}

    def note(self, uid: str, owner: Key) -> None:
        """The child of that uid belongs to ``owner``."""
        if self._owner.get(uid) != owner:
            self.forget(uid)
            self._owner[uid] = owner
            self._children.setdefault(owner, set()).add(uid)

    def of(self, uid: str) -> Key | None:
        return self._owner.get(uid)

    def keys(self) -> Set[Key]:
        """All owners."""
        return self._children.keys()

    def forget(self, uid: str) -> None:
        """The child is gone."""
        owner = self._owner.pop(uid, None)
        if owner is not None:
            self._children[owner].discard(uid)
            if not self._children[owner]:
                del self._children[owner]

    def forget_owner(self, owner: Key) -> set[str]:
        """The owner is gone; returns the uids of the children that were known."""
        children = self._children.pop(owner, set())
        for uid in children:
            del self._owner[uid]
        return children
