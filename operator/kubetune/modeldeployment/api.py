"""The ModelDeployment resource: one model served under one name."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune.common.job_status import Failure
from kubetune.common.meta import AGE, Column, KindInfo, Resource, Status
from kubetune.common.model import ApiModel, Rule, checked
from kubetune.common.model_source import LocalRef, ModelChoice, ObjectName
from kubetune.common.pod_options import PodOptions
from kubetune.common.syntax import SEEN_RULE, whole

Argument = Annotated[str, StringConstraints(min_length=1, max_length=256), Field(json_schema_extra=checked(SEEN_RULE))]

MANAGED_ARGUMENTS = (
    "--host",
    "--port",
    "--uds",
    "--root-path",
    "--api-key",
    "--served-model-name",
    "--model",
    "--tokenizer",
    "--lora-modules",
    "--enable-lora",
    "--no-enable-lora",
    "--max-lora-rank",
    "--config",
    "--headless",
    "--grpc",
    "--shutdown-timeout",
    "--ssl-keyfile",
    "--ssl-certfile",
    "--tensor-parallel-size",
    "-tp",
    "--max-model-len",
    "--max-num-seqs",
    "--gpu-memory-utilization",
    "--dtype",
)
"""Options of ``vllm serve`` that follow from other fields or that would take the engine out of the operator's sight."""

# vLLM takes '_' for '-' inside a name, what follows a dot for a member, and any beginning of a name for the name.
_NAME = "arg.replace('_', '-').split('=')[0].split('.')[0]"
_IS_MANAGED = (
    "arg.matches('^-{1,2}[A-Za-z]') && "
    f"{list(MANAGED_ARGUMENTS)!r}.exists(managed, managed.startsWith({_NAME})) || arg.startsWith('-tp')"
)
_OPTION = "--?[A-Za-z][-A-Za-z0-9_.+]*"
_VALUE = r"[^-[:space:]\pZ][^[:space:]\pZ]*|-[0-9.][^[:space:]\pZ]*|[\[{].*"
_ARGUMENT = rf"{_OPTION}(=([^[:space:]\pZ]*|[\[{{].*))?|{_VALUE}"
"""An option with or without its value, or a value; only JSON has spaces."""


class Reason(enum.StrEnum):
    """Reasons of a ModelDeployment's conditions; a failure may also carry a reason of the server's own."""

    FINE_TUNE_JOB_NOT_FOUND = "FineTuneJobNotFound"
    FINE_TUNE_JOB_NOT_FINISHED = "FineTuneJobNotFinished"
    FINE_TUNE_JOB_FAILED = "FineTuneJobFailed"
    ADAPTER_NOT_SERVABLE = "AdapterNotServable"
    ADMITTED = "Admitted"
    NO_GATE = "NoGate"
    EVALUATION_NOT_FOUND = "EvaluationNotFound"
    EVALUATION_NOT_FINISHED = "EvaluationNotFinished"
    EVALUATION_FAILED = "EvaluationFailed"
    EVALUATION_WITHOUT_GATE = "EvaluationWithoutGate"
    EVALUATION_OF_ANOTHER_MODEL = "EvaluationOfAnotherModel"
    EVALUATION_WITHOUT_CONTENT = "EvaluationWithoutContent"
    VERDICT_NO_GO = "VerdictNoGo"
    VERDICT_INCONCLUSIVE = "VerdictInconclusive"
    FETCHING = "Fetching"
    LOADING = "Loading"
    LOADED = "Loaded"
    READY = "Ready"
    SCALED_TO_ZERO = "ScaledToZero"
    ROLLING_OUT = "RollingOut"
    ENGINE_FAILED = "EngineFailed"
    CONTENT_CHANGED = "ContentChanged"


class DeploymentCondition(enum.StrEnum):
    """Types of the conditions, in the order in which they become True."""

    ACCEPTED = "Accepted"
    """The spec is usable, and what it names was found so far."""
    ADMITTED = "Admitted"
    """The required verdict is Go, or none is required."""
    LOADED = "Loaded"
    """The engine has loaded the wanted version."""
    READY = "Ready"
    """The summary: the endpoint answers with the wanted version."""


class DeploymentPhase(enum.StrEnum):
    """One word, derived from the conditions."""

    PENDING = "Pending"
    LOADING = "Loading"
    READY = "Ready"
    SERVING_PREVIOUS = "ServingPrevious"
    """What answers is the version before the one that is wanted: that is not admitted, does not come up, or loads."""
    STOPPED = "Stopped"
    FAILED = "Failed"


class DType(enum.StrEnum):
    """Number format of the weights while serving."""

    AUTO = "auto"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Engine(ApiModel):
    """Settings of vLLM, in its own words (`vllm serve --help`)."""

    max_model_len: int | None = Field(default=None, ge=1, le=10_000_000)
    """Most tokens of one conversation, prompt and answer together. Unset: the model's own limit. Lower it when memory
    does not suffice."""
    max_num_seqs: int | None = Field(default=None, ge=1, le=65_536)
    """Most requests answered at once. Unset: vLLM's default."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory vLLM takes. Unset: vLLM's default. On the CPU it is a share of the main memory."""
    dtype: DType = DType.AUTO
    """Number format of the weights; `auto` follows the model."""
    enforce_eager: bool = False
    """Skips CUDA graphs: starts faster and needs less memory, answers slower."""
    extra_args: tuple[Argument, ...] = Field(
        default=(),
        max_length=32,
        json_schema_extra=checked(
            Rule(
                f"!self.exists(arg, {_IS_MANAGED})",
                "these options follow from other fields and cannot be given here, nor their beginnings, which vLLM "
                f"takes for them: {', '.join(MANAGED_ARGUMENTS)}",
            ),
            Rule(
                "self.size() == 0 || self[0].startsWith('-')",
                "must begin with an option of vllm serve, for example --enable-prefix-caching",
            ),
            Rule(
                f"self.all(arg, {whole(_ARGUMENT, 'arg')})",
                "takes one word an item, an option or its value, without spaces: [--kv-cache-dtype, fp8] or "
                "[--kv-cache-dtype=fp8]",
            ),
            **{"x-kubernetes-list-type": "atomic"},
        ),
    )
    """Further arguments of `vllm serve`, one word each, for example `[--enable-prefix-caching]`."""


class RequireVerdict(ApiModel):
    """The proof that is asked for before the model gets traffic."""

    evaluation_ref: LocalRef
    """An Evaluation of this namespace. Its verdict must be Go and its candidate must be this model."""


class Cache(ApiModel):
    """Where fetched models are kept between restarts."""

    claim_name: ObjectName
    """A PersistentVolumeClaim of this namespace."""


class Rollout(enum.StrEnum):
    """How a new version takes over."""

    RECREATE = "Recreate"
    ROLLING_UPDATE = "RollingUpdate"


class ModelDeploymentSpec(PodOptions):
    """What to serve."""

    model: ModelChoice
    """The model to serve. Changing it makes a new version; the old one serves until the new one is admitted."""
    require_verdict: RequireVerdict | None = None
    """The proof that is asked for before a version gets traffic. Without Go the version admitted before goes on
    serving. Unset: no proof is asked."""
    replicas: int = Field(default=1, ge=0, le=100)
    """Pods that serve it; each needs its own GPU. 0 stops serving and frees them."""
    engine: Engine = Engine()
    """Settings of vLLM."""
    drain_seconds: int = Field(default=30, ge=0, le=3600)
    """Time that requests in flight get to finish when a pod is stopped, in seconds."""
    cache: Cache | None = None
    """Keeps fetched models on a volume, so that a restart loads them from there. Unset: they are fetched again by every
    new pod."""
    rollout: Rollout | None = None
    """`Recreate` stops the old version before the new one starts, `RollingUpdate` afterwards, which needs room for
    both. Unset: Recreate with GPUs, RollingUpdate without."""
    revision: str | None = Field(default=None, min_length=1, max_length=63)
    """Any text. Changing it makes the pods anew with the engine image and the settings that the operator has now; an
    upgrade of the operator alone leaves pods as they are."""


class VersionState(enum.StrEnum):
    """What became of a version."""

    ACTIVE = "Active"
    STOPPED = "Stopped"
    PENDING = "Pending"
    REJECTED = "Rejected"
    FAILED = "Failed"


class Version(ApiModel):
    """One model with its adapter."""

    name: str = Field(min_length=1, max_length=63)
    """Short hash of what is served."""
    uri: str = Field(max_length=2048)
    """The model."""
    adapter_uri: str | None = Field(default=None, max_length=2048)
    """The adapter on top of it."""
    content: str | None = Field(default=None, max_length=128)
    """What the model's folder must hold, as it was judged or published; where nothing is prescribed, what the pod that
    answers has found. `manifest:` and the SHA-256 of its manifest, `files:` and one over its files where it has no
    manifest, or `commit:` and the hub's commit."""
    adapter_content: str | None = Field(default=None, max_length=128)
    """The same of the adapter's folder."""
    image: str | None = Field(default=None, max_length=1024)
    """Image of its pods; unset while it has none."""
    state: VersionState
    """Active: it answers (or is being rolled out). Stopped: it would, but spec.replicas is 0. Pending: waits for its
    model or its verdict. Rejected: its verdict is not Go. Failed: it could not be loaded."""
    message: str | None = Field(default=None, max_length=4096)
    """Why it is in this state."""


class ModelDeploymentStatus(Status):
    """What is served."""

    phase: DeploymentPhase | None = None
    """Pending, Loading, Ready, ServingPrevious (the version before the wanted one answers), Stopped or Failed."""
    ready: str | None = Field(default=None, max_length=32)
    """Pods that answer, of those wanted: `1/1`. Whichever version they serve; the condition Ready is about the wanted
    one."""
    version: str | None = Field(default=None, max_length=63)
    """Name of the version that answers, or else of the one that is to."""
    endpoint: str | None = Field(default=None, max_length=1024)
    """Base URL of the OpenAI-compatible API, inside the cluster."""
    model_name: str | None = Field(default=None, max_length=253)
    """What to put into the request's `model`."""
    base_model_name: str | None = Field(default=None, max_length=253)
    """What to put there to ask the base model without the adapter; unset without an adapter."""
    versions: tuple[Version, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """The version that serves and the one that is wanted."""
    available_image: str | None = Field(default=None, max_length=1024)
    """The engine image that pods made now would have, where it is another than the one that serves. Change
    `spec.revision` to take it."""
    ready_replicas: int | None = Field(default=None, ge=0)
    """Pods that answer."""
    selector: str | None = Field(default=None, max_length=512)
    """Labels of the pods, as a HorizontalPodAutoscaler wants them from the subresource `scale`."""
    failure: Failure | None = None
    """Set while the wanted version does not come up."""


class ModelDeployment(Resource):
    """One model, with or without an adapter, served under one name by an OpenAI-compatible API."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelDeployment",
        plural="modeldeployments",
        short="mdep",
        columns=(
            Column("Phase", ".status.phase"),
            Column("Ready", ".status.ready"),
            Column("Version", ".status.version"),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("URL", ".status.endpoint"),
            AGE,
        ),
        scalable=True,
    )

    spec: ModelDeploymentSpec
    """What to serve."""
    status: ModelDeploymentStatus = ModelDeploymentStatus()
    """What is served."""
