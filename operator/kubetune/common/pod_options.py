"""What the user decides about the pods of a custom resource."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .model import ApiModel, Cpu, GpuMemory, Memory, Rule, checked
from .model_source import ObjectName
from .syntax import EXTENDED_RESOURCE, LABEL_KEY, LABEL_VALUE, whole
from .uris import OutputUri

LABEL_TEXT = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
LABEL_KEY_TEXT = f"{LABEL_TEXT}; a domain and '/' may stand in front"

LabelValue = Annotated[
    str,
    StringConstraints(max_length=63),
    Field(json_schema_extra=checked(Rule(whole(LABEL_VALUE), f"no label has this value: it has {LABEL_TEXT}"))),
]


ComputeCapability = Annotated[
    str,
    Field(
        max_length=4,
        json_schema_extra=checked(
            Rule("self.matches('^[1-9][0-9]?[.][0-9]$')", "must be a compute capability in quotes, for example '8.6'")
        ),
    ),
]
GpuResourceName = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=checked(
            Rule(
                f"{whole(EXTENDED_RESOURCE)} && !self.matches('^requests[.]|kubernetes[.]io/')",
                "must be the name of a resource as nodes offer it, for example nvidia.com/mig-1g.10gb",
            )
        ),
    ),
]


SHARES_PATTERN = "/mig-|[.]shared$"
"""In a GPU resource's name: slices of a card (MIG) or shares of its time."""


class Resources(ApiModel):
    """What each pod asks of its node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.gpu > 0 || !(has(self.gpuMemory) || has(self.computeCapability) || has(self.gpuResourceName))",
            "gpuMemory, computeCapability and gpuResourceName say which GPU; set gpu to 1 or more, or leave them out",
            "gpu",
        ),
        Rule(
            f"self.gpu < 2 || !has(self.gpuResourceName) || !self.gpuResourceName.matches('{SHARES_PATTERN}')",
            "gpuResourceName counts slices or shares of a card, which cannot work together: set gpu to 1",
            "gpu",
        ),
        Rule(
            "!has(self.cpuLimit) || quantity(string(self.cpuLimit)).compareTo(quantity(string(self.cpu))) >= 0",
            "cpuLimit is less than cpu, which is requested; raise it to cpu or more, or lower cpu",
            "cpuLimit",
        ),
    )

    gpu: int = Field(default=0, ge=0, le=16)
    """Number of GPUs, all of one node. 0 runs on the CPU."""
    gpu_memory: GpuMemory | None = None
    """Least memory of each GPU: nodes whose label `nvidia.com/gpu.memory` (GPU feature discovery's) says less, or that
    have none, are left out. A card sold with 24 GB has `24G` for sure, but often not `24Gi`. Unset: any, but for GPUs
    that the preflight of a FineTuneJob finds too small."""
    compute_capability: ComputeCapability | None = None
    """Least compute capability, in quotes: `"8.0"` and newer for bfloat16, for example. Unset: any."""
    gpu_resource_name: GpuResourceName | None = None
    """The resource that counts the GPUs, for a MIG slice (`nvidia.com/mig-1g.10gb`) or a share of a GPU's time
    (`nvidia.com/gpu.shared`). Unset: the operator's setting (`nvidia.com/gpu`)."""
    cpu: Cpu = "1"
    """CPU requested; the pod may use more while the node has it idle."""
    cpu_limit: Cpu | None = None
    """Most CPU the pod may use. Unset: no limit, which is faster; for namespaces whose ResourceQuota has `limits.cpu`,
    and so demands one."""
    memory: Memory = "4Gi"
    """Main memory requested, and the limit at which the pod is killed (OOMKilled)."""
    scratch: Memory | None = None
    """Disk of the node for downloads, checkpoints and results before they are uploaded: requested, and the limit at
    which the pod is evicted. Unset: a training requests what its preflight estimates and may use twice that and 1Gi;
    others request 1Gi and may use 64Gi and eight times their memory."""


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

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
            "name the key of a taint; only operator Exists may leave it out, which tolerates every taint",
            "key",
        ),
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "operator Exists compares no value; remove value, or set operator to Equal",
            "value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds is about effect NoExecute; set that, or remove tolerationSeconds",
            "tolerationSeconds",
        ),
    )

    key: str | None = Field(
        default=None,
        max_length=317,
        json_schema_extra=checked(
            Rule(
                f"self == '' || {whole(LABEL_KEY)}",
                f"no taint has this key: it has {LABEL_KEY_TEXT}",
            )
        ),
    )
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
    node_selector: dict[str, LabelValue] | None = Field(
        default=None,
        max_length=32,
        json_schema_extra=checked(
            Rule(
                f"self.all(key, {whole(LABEL_KEY, 'key')})",
                f"no label has such a key: it has {LABEL_KEY_TEXT}",
            )
        ),
    )
    """Labels a node must have, for example `{kubernetes.io/hostname: workstation}`."""
    tolerations: tuple[Toleration, ...] | None = Field(
        default=None, max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Taints the pods may be scheduled onto."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods. Unset, pods with a GPU have the operator's setting, else `nvidia` where a RuntimeClass
    of that name exists; others have none."""
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
    denied access) are not tried again, and what main memory has killed twice in a row is not tried a third time."""
