"""How the installed operator is set up: read from its Deployment, so that any way of installing it will do."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .environment import SYSTEM_NAMESPACE
from .kube import Kube, Object
from .shell import DemoError


@dataclass(frozen=True)
class Settings:
    """What the demo needs to know of the installation."""

    endpoint: str
    bucket: str
    secret: str
    trainer_image: str
    pull_policy: str

    @property
    def service(self) -> tuple[str, str, int] | None:
        """Namespace, name and port of the store's Service; None when the store lies outside the cluster."""
        parts = urlsplit(self.endpoint)
        labels = (parts.hostname or "").split(".")
        if len(labels) < 3 or labels[2] != "svc":
            return None
        return labels[1], labels[0], parts.port or 80


def parse(deployments: list[Object]) -> Settings:
    """From the release's Deployments; raises DemoError when none is KubeTune's operator."""
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            env = {entry["name"]: entry.get("value", "") for entry in container.get("env", ())}
            if "KUBETUNE_TRAINER_IMAGE" in env:
                return Settings(
                    endpoint=env.get("KUBETUNE_STORE_ENDPOINT", ""),
                    bucket=env.get("KUBETUNE_STORE_BUCKET", "kubetune"),
                    secret=env.get("KUBETUNE_STORE_SECRET", "kubetune-object-store"),
                    trainer_image=env["KUBETUNE_TRAINER_IMAGE"],
                    pull_policy=env.get("KUBETUNE_IMAGE_PULL_POLICY", "IfNotPresent"),
                )
    raise DemoError("no operator of KubeTune is installed in this cluster: run `helm install` first")


def read_settings(kube: Kube) -> Settings:
    """Of the operator in SYSTEM_NAMESPACE."""
    return parse(kube.list(SYSTEM_NAMESPACE, "deployments"))
