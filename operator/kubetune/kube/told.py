"""How new the newest state of every kind is that this operator knows of."""

from __future__ import annotations

from typing import Any

from .kinds import Resource

Object = dict[str, Any]


class Told:
    """By kind: the highest resource version that a watch, a read or a write of our own has told.

    Versions of one kind are comparable as numbers since Kubernetes 1.35, and were in fact since ever (etcd, kine). A
    kind whose versions are no numbers stays unknown. That of a list is not counted: it may be newer than anything of
    that kind, and the API server's watch cache would be waited for in vain.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}

    def note(self, kind: str, obj: Object) -> None:
        """One object of that kind, in whatever state it was seen."""
        metadata = obj.get("metadata")
        text = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if isinstance(text, str) and text.isdigit() and int(text) > self._newest.get(kind, 0):
            self._newest[kind] = int(text)

    def read(self, resource: Resource, answer: Object) -> None:
        """What the API server answered: an object or a list."""
        if "items" not in answer:
            self.note(resource.kind, answer)
            return
        for item in answer["items"]:
            self.note(resource.kind, item)

    def newest(self, resource: Resource) -> str | None:
        """None while nothing of that kind was seen."""
        version = self._newest.get(resource.kind)
        return None if version is None else str(version)

    def forget(self, resource: Resource) -> None:
        """The API server knows of no version that high: its store was restored from a backup."""
        self._newest.pop(resource.kind, None)
