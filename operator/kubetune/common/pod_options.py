"""What the user decides about the pods of a custom resource."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import Field, StringConstraints

from .model import ApiModel, Quantity, Rule
from .model_source import ObjectName
from .uris import OutputUri

LabelValue = Annotated[str, StringConstraints(max_length=63)]


class Resources(ApiModel):
    """What each pod asks of its node."""

    gpu: int = Field(default=0, ge=0, le=16)
    """Number of GPUs (`nvidia.com/gpu` unless the operator is set up for another resource). 0 runs on the CPU."""
    cpu: Quantity = "1"
    """CPU requested; the pod may use more while the node has it idle."""
    memory: Quantity = "4Gi"
    """Main memory requested, and the limit at which the pod is killed (OOMKilled)."""


class TolerationOperator(enum.StrEnum):
    """How a toleration's key is compared with a taint's."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(enum.StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint the pods may be scheduled onto, as in a pod's spec."""

    key: str | None = Field(default=None, max_length=317)
    """Key of the taint; unset with operator Exists tolerates every taint."""
    operator: TolerationOperator | None = None
    """`Equal` (default) compares the value too, `Exists` only the key."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: TaintEffect | None = None
    """Effect of the taint; unset means all effects."""
    toleration_seconds: int | None = Field(default=None, ge=0)
    """How long a NoExecute taint is tolerated, in seconds; unset means for ever."""


class Credentials(ApiModel):
    """Secrets of this namespace that the pods read; the operator itself never does."""

    object_store_secret: ObjectName | None = None
    """Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` for `s3://` URIs. Unset: the operator's default name
    (`kubetune-object-store`)."""
    hugging_face_secret: ObjectName | None = None
    """Secret with `HF_TOKEN` for gated or private `hf://` repositories. Unset: no token is used."""


class PodOptions(ApiModel):
    """Where and with what the pods run."""

    resources: Resources = Resources()
    """What each pod asks of its node."""
    node_selector: dict[str, LabelValue] | None = Field(default=None, max_length=32)
    """Labels a node must have, for example `{kubernetes.io/hostname: workstation}`."""
    tolerations: tuple[Toleration, ...] | None = Field(
        default=None, max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Taints the pods may be scheduled onto."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, `nvidia` on k3s. Unset: the operator's default for pods with a GPU, none for others."""
    credentials: Credentials | None = None
    """Secrets of this namespace; unset members fall back to the operator's defaults."""


class Output(ApiModel):
    """Where results are written."""

    uri: OutputUri
    """Prefix in the object store, `s3://bucket/prefix`. Every object writes below `<uri>/<its uid>/`, so nothing is
    overwritten."""


class JobOptions(PodOptions):
    """What runs once has these too; only ``suspend`` may change, because results name the spec they came from."""

    @classmethod
    def all_rules(cls) -> tuple[Rule, ...]:
        """Adds one rule per field that must stay as it is, so that a refusal names the field."""
        names = [field.alias or name for name, field in cls.model_fields.items() if name != "suspend"]
        return super().all_rules() + tuple(
            Rule(
                f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
                f"{name} cannot be changed after creation (only suspend can); create another object instead",
                name,
            )
            for name in names
        )

    output: Output | None = None
    """Where results are written. Unset: the operator's bucket, below the kind, namespace and name."""
    suspend: bool = False
    """true stops the pod and frees its GPU; false starts again. The only field of the spec that may change."""
    active_deadline_seconds: int | None = Field(default=None, ge=1, le=31_536_000)
    """Longest time it may run, in seconds, over all attempts; after it the object fails. Unset: no limit."""
    backoff_limit: int = Field(default=3, ge=0, le=100)
    """How many times a failed pod is tried again. Failures that cannot go away by themselves (bad data, missing files,
    denied access) are not tried again."""
