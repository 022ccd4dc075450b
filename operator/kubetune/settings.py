"""The operator's settings, read once from KUBETUNE_* environment variables and passed explicitly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kubetune.prices import GpuClass, read_budgets, read_gpu_classes

PREFIX = "KUBETUNE_"
Document = TypeVar("Document")


class SettingsError(Exception):
    """A variable has a value that cannot be used; the message names it and says what is allowed."""


@dataclass(frozen=True)
class Settings:
    """All values have a default, so that tests and builders name only what they are about."""

    trainer_image: str = "kubetune/trainer:latest"
    evaluator_image: str = "kubetune/evaluator:latest"
    server_image: str = "kubetune/server:latest"
    server_cpu_image: str = "kubetune/server-cpu:latest"
    """Used when a ModelDeployment asks for no GPU."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets by which nodes pull the images of workloads; looked for in each workload's own namespace."""

    store_endpoint: str = ""
    """URL of the S3 object store; empty means AWS itself."""
    store_region: str = "us-east-1"
    store_bucket: str = "kubetune"
    """Where results go when a custom resource names no output."""
    store_secret: str = "kubetune-object-store"
    """Secret in the custom resource's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    store_secret_namespace: str = ""
    """Namespace of the release that runs the object store and made that Secret; empty: the store is somebody else's."""
    tracking_uri: str = ""
    """MLflow server used when a FineTuneJob names none; empty means no tracking."""
    tracking_secret: str = ""
    """Secret in the custom resource's namespace with credentials for that server; empty: it asks for none."""
    cluster_domain: str = "cluster.local"

    runtime_class: str = ""
    """runtimeClassName of pods that ask for a GPU and name none; empty means the node's default."""
    gpu_resource: str = "nvidia.com/gpu"

    max_running_per_namespace: int = 0
    """FineTuneJobs of one namespace that may hold pods of a training at the same time; 0 means any number."""
    budgets: Mapping[str, float] = field(default_factory=dict)
    """Namespace -> amount its FineTuneJobs may cost together; a namespace that is not named has no limit."""
    gpu_classes: tuple[GpuClass, ...] = ()
    """What the cluster's GPUs are and cost."""
    currency: str = ""
    """Of all prices and budgets, for example EUR."""
    electricity_per_kwh: float | None = None
    cpu_watts: float | None = None
    """Power of a node that trains on its CPU."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; empty means all."""
    lease_namespace: str = "default"
    lease_name: str = "kubetune-operator"
    """The Lease whose holder acts; operators that serve the same namespaces must name the same one."""
    pod_name: str = ""
    """This operator's pod, which a container that is started again in it goes on for; empty: a name of the process."""
    workers: int = 16
    """Custom resources reconciled at the same time."""
    resync_seconds: float = 600.0
    """Every custom resource is looked at again at least this often, so that a lost event costs time, never truth."""
    keep_finished_seconds: int = 86_400
    """Jobs of trainings and evaluations that have ended are deleted with their pods so long after their end, once it is
    on record; 0 keeps them as long as their owner."""
    poll_seconds: float = 2.0
    """Between two questions to one running pod; what it answers is in the metrics at once."""
    progress_write_seconds: float = 3.0
    """At least this long between two status writes of an object that carry nothing but progress; with ``poll_seconds``
    that keeps the status within five seconds of the trainer. With more than 18 running it grows with their number
    (``runtime.polls.WRITES_PER_SECOND``)."""
    http_port: int = 8080
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises SettingsError naming the variable whose value is unusable."""
        text = {
            name: env[PREFIX + name.upper()]
            for name, kind in cls.__annotations__.items()
            if kind == "str" and PREFIX + name.upper() in env
        }
        settings = cls(
            **text,
            namespaces=_names(env, "NAMESPACES"),
            image_pull_secrets=_names(env, "IMAGE_PULL_SECRETS"),
            workers=int(_number(env, "WORKERS", cls.workers, low=1, high=256)),
            resync_seconds=_number(env, "RESYNC_SECONDS", cls.resync_seconds, low=1),
            keep_finished_seconds=int(_number(env, "KEEP_FINISHED_SECONDS", cls.keep_finished_seconds, low=0)),
            poll_seconds=_number(env, "POLL_SECONDS", cls.poll_seconds, low=0.1),
            progress_write_seconds=_number(env, "PROGRESS_WRITE_SECONDS", cls.progress_write_seconds, low=0),
            http_port=int(_number(env, "HTTP_PORT", cls.http_port, low=0, high=65535)),
            max_running_per_namespace=int(_number(env, "MAX_RUNNING_PER_NAMESPACE", 0, low=0)),
            budgets=_document(env, "BUDGETS", read_budgets),
            gpu_classes=_document(env, "GPU_CLASSES", read_gpu_classes),
            electricity_per_kwh=_optional(env, "ELECTRICITY_PER_KWH"),
            cpu_watts=_optional(env, "CPU_WATTS"),
        )
        settings._check_choices()
        return settings

    def _check_choices(self) -> None:
        policies = ("Always", "IfNotPresent", "Never")
        if self.image_pull_policy not in policies:
            raise SettingsError(f"KUBETUNE_IMAGE_PULL_POLICY is {self.image_pull_policy!r}; use one of {policies}")
        if re.match(r"https?://[^/?#]*@", self.tracking_uri):
            raise SettingsError(
                "KUBETUNE_TRACKING_URI holds a user name or a password, which every pod's configuration would show; "
                "put them into a Secret of each namespace and name it in KUBETUNE_TRACKING_SECRET"
            )
        levels = ("DEBUG", "INFO", "WARNING", "ERROR")
        if self.log_level.upper() not in levels:
            raise SettingsError(f"KUBETUNE_LOG_LEVEL is {self.log_level!r}; use one of {levels}")


def _names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(PREFIX + name, "").split(",") if part.strip())


def _document(env: Mapping[str, str], name: str, read: Callable[[str], Document]) -> Document:
    try:
        return read(env.get(PREFIX + name, ""))
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name}: {error}") from None


def _optional(env: Mapping[str, str], name: str) -> float | None:
    return _number(env, name, 0, low=0) if env.get(PREFIX + name, "").strip() else None


def _number(env: Mapping[str, str], name: str, default: float, *, low: float, high: float = 1e9) -> float:
    text = env.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{PREFIX}{name} is {text!r}, which is no number") from None
    if not low <= value <= high:
        raise SettingsError(f"{PREFIX}{name} is {text}; it must be from {low:g} to {high:g}")
    return value
