"""The Job that makes base model and data inside the cluster, and the ConfigMap with its code. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .kube import Object
from .settings import Settings
from .shell import ROOT
from .source import Source

MOUNT = "/opt/demo"
LABELS = {"app.kubernetes.io/part-of": "kubetune-demo"}


def job_name(source: Source) -> str:
    """Of the Job and of its ConfigMap."""
    return f"{source.name}-seed"


def job_objects(settings: Settings, source: Source, arguments: Sequence[str]) -> list[Object]:
    """ConfigMap and Job; the code travels in the ConfigMap, so that the ordinary trainer image runs it."""
    metadata = {"name": job_name(source), "labels": LABELS}
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {_key(path): path.read_text(encoding="utf-8") for path in source.code},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 1,
            "template": {"metadata": {"labels": LABELS}, "spec": _pod(settings, source, arguments)},
        },
    }
    return [code, job]


def _key(path: Path) -> str:
    """Of the file in the ConfigMap, which knows no folders."""
    return path.relative_to(ROOT).as_posix().replace("/", ".")


def _pod(settings: Settings, source: Source, arguments: Sequence[str]) -> Object:
    files = [{"key": _key(path), "path": path.relative_to(ROOT).as_posix()} for path in source.code]
    container = {
        "name": "seed",
        "image": settings.trainer_image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", source.module, *arguments],
        "env": [
            {"name": "PYTHONPATH", "value": f"/opt/kubetune:{MOUNT}"},
            {"name": "KUBETUNE_STORE_ENDPOINT", "value": settings.endpoint},
            # The log's last line is what the demo shows.
            {"name": "TQDM_DISABLE", "value": "1"},
            *(_secret(settings.secret, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        ],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "code", "mountPath": MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "code", "configMap": {"name": job_name(source), "items": files}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _secret(secret: str, name: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
