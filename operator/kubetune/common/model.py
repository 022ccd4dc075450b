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


@dataclass(frozen=True)
class Rule:
    """A CEL rule the API server checks; ``message`` is what the user reads when it is refused.

    ``field`` names the member of the object that the refusal points at, in its YAML spelling.
    """

    rule: str
    message: str
    field: str | None = None

    def to_dict(self) -> dict[str, str]:
        """One entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.rule, "message": self.message}
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

QUANTITY_RULE = Rule(
    "type(self) == int ? self > 0 : (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')))",
    "must be a positive Kubernetes quantity, for example 2 or 500m for CPU, 8Gi for memory",
)

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    WithJsonSchema(
        checked(
            QUANTITY_RULE,
            anyOf=[{"type": "integer"}, {"type": "string"}],
            maxLength=32,
            **{"x-kubernetes-int-or-string": True},
        )
    ),
]
"""An amount of CPU or memory; integers are accepted as YAML writes them."""
