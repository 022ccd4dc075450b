"""Base of every API type: how Python members become fields of the custom resources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

NAME_LIMIT = 52
"""Longest name of a custom resource: leaves room for the suffix of a child and of its pods."""


@dataclass(frozen=True)
class Rule:
    """A CEL rule the API server checks; ``message`` is what the user reads when it is refused.

    ``field`` names the member of the object that the refusal points at, in its YAML spelling. ``once`` asks at creation
    only: an object stored before there was the rule can still be suspended.
    """

    rule: str
    message: str
    field: str | None = None
    once: bool = False

    def to_dict(self) -> dict[str, Any]:
        """One entry of ``x-kubernetes-validations``."""
        rule = f"oldSelf.hasValue() || ({self.rule})" if self.once else self.rule
        entry: dict[str, Any] = {"rule": rule, "message": self.message}
        entry |= {"optionalOldSelf": True} if self.once else {}
        return entry | {"fieldPath": f".{self.field}"} if self.field else entry


def checked(*rules: Rule, **schema: Any) -> dict[str, Any]:
    """A field's ``json_schema_extra``: its CEL rules and any further schema keywords."""
    return schema | {"x-kubernetes-validations": [rule.to_dict() for rule in rules]} if rules else schema


class ApiModel(BaseModel):
    """An object of the API; unknown fields are ignored, so that an older operator reads a newer resource.

    ``rules`` are checked by the API server on every object of the class; subclasses inherit them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        # JSON has no word for them, and the API server refuses the whole object.
        allow_inf_nan=False,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def all_rules(cls) -> tuple[Rule, ...]:
        """The rules of the class and of those it inherits from."""
        return tuple(rule for ancestor in cls.__mro__ for rule in vars(ancestor).get("rules", ()))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        target = handler.resolve_ref_schema(schema)
        target.update(checked(*cls.all_rules()))
        return schema

    def to_dict(self) -> dict[str, Any]:
        """The object as JSON-able data in the YAML spelling, without the fields that are unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _quantity(message: str, lowest: str, lowest_count: int, highest: str | None = None) -> Any:
    """A quantity with bounds, within which its unit is right: ``8`` bytes and ``100m`` of memory are no one's wish.

    Integers are accepted as YAML writes them; ``lowest_count`` is the lower bound of those.
    """
    low = f"quantity(self).compareTo(quantity('{lowest}')) >= 0"
    high = f" && quantity(self).compareTo(quantity('{highest}')) <= 0" if highest else ""
    rule = f"type(self) == int ? self >= {lowest_count} : (isQuantity(self) && {low}{high})"
    if highest:
        rule = f"type(self) == int ? self >= {lowest_count} && self <= {highest} : (isQuantity(self) && {low}{high})"
    schema = checked(
        Rule(rule, message),
        anyOf=[{"type": "integer"}, {"type": "string"}],
        maxLength=32,
        **{"x-kubernetes-int-or-string": True},
    )
    return WithJsonSchema(schema)


_TEXT = BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)

Cpu = Annotated[
    str,
    _TEXT,
    _quantity("must be a number of CPUs from 1m to 10000, for example 2 or 500m", "1m", 1, "10000"),
]
"""An amount of CPU."""
Memory = Annotated[
    str,
    _TEXT,
    _quantity("must be at least 64Mi, with its unit: 8Gi for example; without one it counts bytes", "64Mi", 64 * 2**20),
]
"""Main memory of a pod: less than its least no Python starts in."""
GpuMemory = Annotated[
    str,
    _TEXT,
    _quantity("must be at least 256Mi, with its unit: 24G for example; without one it counts bytes", "256Mi", 2**28),
]
"""Memory of a GPU."""
