"""The Job that makes base model and data inside the cluster, and the ConfigMap with its code. Pure."""

from __future__ import annotations

from pathlib import Path

from .kube import Object
from .settings import Settings

JOB = "demo-seed"
HERE = Path(__file__).resolve().parent
CODE = tuple(HERE / name for name in ("basemodel.py", "corpus.py", "produce.py", "task.py"))
MOUNT = "/opt/demo"
LABELS = {"app.kubernetes.io/part-of": "kubetune-demo"}


def job_objects(settings: Settings, prefix: str, key: str, steps: int | None) -> list[Object]:
    """ConfigMap and Job; the code travels in the ConfigMap, so that the ordinary trainer image runs it."""
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": JOB, "labels": LABELS},
        "data": {path.name: path.read_text(encoding="utf-8") for path in CODE},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": JOB, "labels": LABELS},
        "spec": {
            "backoffLimit": 1,
            "template": {"metadata": {"labels": LABELS}, "spec": _pod(settings, prefix, key, steps)},
        },
    }
    return [code, job]


def _pod(settings: Settings, prefix: str, key: str, steps: int | None) -> Object:
    command = ["python", "-m", "tests.demo.produce", prefix, key, *([str(steps)] if steps else [])]
    files = [{"key": path.name, "path": f"tests/demo/{path.name}"} for path in CODE]
    container = {
        "name": "seed",
        "image": settings.trainer_image,
        "imagePullPolicy": settings.pull_policy,
        "command": command,
        "env": [
            {"name": "PYTHONPATH", "value": f"/opt/kubetune:{MOUNT}"},
            {"name": "KUBETUNE_STORE_ENDPOINT", "value": settings.endpoint},
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
        "volumes": [{"name": "code", "configMap": {"name": JOB, "items": files}}, {"name": "tmp", "emptyDir": {}}],
    }


def _secret(secret: str, name: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
