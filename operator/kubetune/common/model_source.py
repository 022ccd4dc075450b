"""How a model is named: by URI, or as the result of a FineTuneJob."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .model import NAME_LIMIT, ApiModel, Rule, checked
from .syntax import SUBDOMAIN, whole
from .uris import ModelUri

OBJECT_NAME_RULE = Rule(
    whole(SUBDOMAIN),
    "must be the name of an object in this namespace: lower-case letters, digits, '-' and '.'",
)

ObjectName = Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=checked(OBJECT_NAME_RULE))]


OWN_NAME_RULE = Rule(
    "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "must be the name of an object of KubeTune: it begins with a letter and has lower-case letters, digits and '-'",
)


class LocalRef(ApiModel):
    """The name of a FineTuneJob or Evaluation in the same namespace."""

    name: str = Field(min_length=1, max_length=NAME_LIMIT, json_schema_extra=checked(OWN_NAME_RULE))
    """Name of the object, in this namespace."""


class BaseModelSource(ApiModel):
    """The model to start from."""

    uri: ModelUri
    """Folder of a model in Hugging Face layout: `s3://bucket/path`, `pvc://claim/path` or `hf://owner/name@revision`.
    Pin the revision of an `hf://` model, otherwise a later run may start from another one."""


class ModelChoice(ApiModel):
    """A model: the result of a FineTuneJob, or URIs."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.fineTuneJobRef) != has(self.uri)", "set exactly one of fineTuneJobRef and uri"),
        Rule(
            "!has(self.adapterUri) || has(self.uri)",
            "adapterUri needs uri, the model it was trained on; a fineTuneJobRef brings its own adapter",
            "adapterUri",
        ),
    )

    fine_tune_job_ref: LocalRef | None = None
    """A FineTuneJob of this namespace: its base model with its adapter, or the model it wrote. Waited for until it has
    succeeded."""
    uri: ModelUri | None = None
    """Folder of a model in Hugging Face layout: `s3://bucket/path`, `pvc://claim/path` or
    `hf://owner/name@revision`."""
    adapter_uri: ModelUri | None = None
    """Folder of a PEFT adapter to put on top of `uri`."""
