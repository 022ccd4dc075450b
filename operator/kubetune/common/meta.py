"""The part of Kubernetes' object metadata that the operator reads, and how a kind is presented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from pydantic import Field, ValidationError

from .conditions import Condition
from .model import NAME_LIMIT, ApiModel, Rule, Timestamp

GROUP = "kubetune.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True)
class Column:
    """One column of ``kubectl get``; ``wide`` shows it with ``-o wide`` only."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class KindInfo:
    """What the CustomResourceDefinition says beside the schema."""

    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...]
    scalable: bool = False

    @property
    def singular(self) -> str:
        """Lower-case kind, also the key of the label on its children."""
        return self.kind.lower()


AGE = Column("Age", ".metadata.creationTimestamp", "date")


class OwnerReference(ApiModel):
    """Who an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(ApiModel):
    """Metadata as the API server returns it."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class Status(ApiModel):
    """What every kind's status carries."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The `metadata.generation` this status was computed from; older than the object's means not seen yet."""
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """How far the object is; True is good."""


def _readable(kind: type[Status], status: Any) -> Status:
    """What of ``status`` fits ``kind``: without the members that do not, or of a list without those entries."""
    if not isinstance(status, dict):
        return kind()
    try:
        return kind.model_validate(status)
    except ValidationError as error:
        # The member, and the number of the entry where it is a list.
        places = [(str(one["loc"][0]), one["loc"][1:2]) for one in error.errors()]
    kept = dict(status)
    for member in {member for member, _ in places}:
        value, unread = kept.pop(member), {entry for name, entry in places if name == member}
        if isinstance(value, list) and () not in unread:
            kept[member] = [one for index, one in enumerate(value) if (index,) not in unread]
    return kind.model_validate(kept)


class Resource(ApiModel):
    """A custom resource; subclasses add ``spec`` and ``status``."""

    info: ClassVar[KindInfo]
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {NAME_LIMIT}",
            f"metadata.name must have at most {NAME_LIMIT} characters, because the names of its pods are made from it",
            "metadata.name",
        ),
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must start with a letter and have only lower-case letters, digits and '-', "
            "because Services and pods are named after it",
            "metadata.name",
        ),
    )

    metadata: ObjectMeta

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> Self:
        """Raises pydantic.ValidationError when metadata or spec do not fit the schema of this version.

        The status does not have to: an operator of another release may have written it. What this one cannot read of
        it counts as unknown.
        """
        kind = cast(type[Status], cls.model_fields["status"].annotation)
        return cls.model_validate(obj | {"status": _readable(kind, obj.get("status"))})

    def owner_reference(self) -> dict[str, Any]:
        """The controller reference that makes a child be deleted with this object."""
        return {
            "apiVersion": API_VERSION,
            "kind": self.info.kind,
            "name": self.metadata.name,
            "uid": self.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
