"""Finding one's way in a CRD's schema and in objects that follow it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubetune.common.meta import Resource
from kubetune.crdgen import openapi_schema
from tests.integration.crd_objects import VALID

Object = dict[str, Any]
Path = tuple[str | int, ...]
ANY_KEY = "*"
"""Stands for the first key of a map in a path."""


@dataclass(frozen=True)
class Place:
    """A node of a kind's schema, its path in an object, and whether the object must have it."""

    kind: str
    path: Path
    schema: Object
    required: bool = False

    @property
    def name(self) -> str:
        """The path as the API server writes it."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).lstrip(".")

    def base(self) -> Object:
        """A valid object that has this place. Raises LookupError when none has."""
        for valid in VALID[self.kind]:
            try:
                get(valid, self.path)
            except LookupError:
                continue
            return copy.deepcopy(valid)
        raise LookupError(f"{self.kind}: no object of crd_objects.py sets {self.name}")

    def value(self) -> Any:
        """What the valid object has here."""
        return get(self.base(), self.path)

    def replaced(self, value: Any) -> Object:
        """The valid object with another value here."""
        obj = self.base()
        holder, key = holder_of(obj, self.path)
        holder[key] = value
        return obj

    def removed(self) -> Object:
        """The valid object without this place."""
        obj = self.base()
        holder, key = holder_of(obj, self.path)
        del holder[key]
        return obj

    def merged(self, patch: Object) -> Object:
        """The valid object with a JSON merge patch applied here."""
        obj = self.base()
        merge(get(obj, self.path), patch)
        return obj


def get(obj: Any, path: Path) -> Any:
    """The value at the path. Raises LookupError."""
    for step in path:
        obj = obj[next(iter(obj)) if step == ANY_KEY else step]
    return obj


def holder_of(obj: Any, path: Path) -> tuple[Any, Any]:
    """The list or map that holds the value at the path, and its key there."""
    holder = get(obj, path[:-1])
    return holder, next(iter(holder)) if path[-1] == ANY_KEY else path[-1]


def merge(target: Object, patch: Object) -> None:
    """RFC 7396: None removes a member."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def places(model: type[Resource]) -> Iterator[Place]:
    """Every node of what the user writes: the object itself, its name and its spec."""
    schema = openapi_schema(model)
    kind = model.info.kind
    yield Place(kind, (), schema)
    yield from _below(Place(kind, ("spec",), schema["properties"]["spec"], required=True))


def _below(place: Place) -> Iterator[Place]:
    yield place
    schema = place.schema
    for name, child in schema.get("properties", {}).items():
        yield from _below(Place(place.kind, (*place.path, name), child, name in schema.get("required", [])))
    if "items" in schema:
        yield from _below(Place(place.kind, (*place.path, 0), schema["items"]))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _below(Place(place.kind, (*place.path, ANY_KEY), schema["additionalProperties"]))
