"""The operator's settings, read once from KUBETUNE_* environment variables and passed explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "KUBETUNE_"


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

    store_endpoint: str = ""
    """URL of the S3 object store; empty means AWS itself."""
    store_region: str = "us-east-1"
    store_bucket: str = "kubetune"
    """Where results go when a custom resource names no output."""
    store_secret: str = "kubetune-object-store"
    """Secret in the custom resource's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    tracking_uri: str = ""
    """MLflow server used when a FineTuneJob names none; empty means no tracking."""
    cluster_domain: str = "cluster.local"

    runtime_class: str = ""
    """runtimeClassName of pods that ask for a GPU and name none; empty means the node's default."""
    gpu_resource: str = "nvidia.com/gpu"

    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; empty means all."""
    workers: int = 16
    """Custom resources reconciled at the same time."""
    resync_seconds: float = 600.0
    """Every custom resource is looked at again at least this often, so that a lost event costs time, never truth."""
    poll_seconds: float = 2.0
    """Between two looks at the progress of one running pod."""
    progress_write_seconds: float = 3.0
    """At least this long between two status writes that carry nothing but progress; with ``poll_seconds`` that keeps
    the status within five seconds of the trainer."""
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
            namespaces=tuple(part.strip() for part in env.get(f"{PREFIX}NAMESPACES", "").split(",") if part.strip()),
            workers=int(_number(env, "WORKERS", cls.workers, low=1, high=256)),
            resync_seconds=_number(env, "RESYNC_SECONDS", cls.resync_seconds, low=1),
            poll_seconds=_number(env, "POLL_SECONDS", cls.poll_seconds, low=0.1),
            progress_write_seconds=_number(env, "PROGRESS_WRITE_SECONDS", cls.progress_write_seconds, low=0),
            http_port=int(_number(env, "HTTP_PORT", cls.http_port, low=0, high=65535)),
        )
        settings._check_choices()
        return settings

    def _check_choices(self) -> None:
        policies = ("Always", "IfNotPresent", "Never")
        if self.image_pull_policy not in policies:
            raise SettingsError(f"KUBETUNE_IMAGE_PULL_POLICY is {self.image_pull_policy!r}; use one of {policies}")
        levels = ("DEBUG", "INFO", "WARNING", "ERROR")
        if self.log_level.upper() not in levels:
            raise SettingsError(f"KUBETUNE_LOG_LEVEL is {self.log_level!r}; use one of {levels}")


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
