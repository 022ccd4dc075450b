"""New custom resources as watch or listing has brought them, so that the first pass need not read them again."""

from __future__ import annotations

from typing import Any

from .controller import Key

Object = dict[str, Any]

LIMIT = 5000
"""Objects kept, some KiB each; what comes on top is read when its turn comes."""


class Arrivals:
    """Holds objects without a status: nobody has worked on them, so nothing is lost when one is behind by an event.

    An object is taken once. Whoever takes it checks that it is newer than anything read or written before.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}

    def note(self, key: Key, obj: Object) -> None:
        """The newest state of an object; takes the place of an older one."""
        self.forget(key)
        if not obj.get("status") and len(self._objects) < LIMIT:
            metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
            self._objects[key] = {**obj, "metadata": metadata}

    def take(self, key: Key) -> Object | None:
        return self._objects.pop(key, None)

    def forget(self, key: Key) -> None:
        self._objects.pop(key, None)
