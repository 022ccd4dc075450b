"""What the tests ask of FineTuneJobs that train in the cluster."""

from __future__ import annotations

import json
import urllib.request

from tests.demo.environment import SYSTEM_NAMESPACE
from tests.demo.kube import Kube, Object, is_true

SECONDS = 420.0
"""The longest that anything here may take."""


def status(kube: Kube, namespace: str, name: str) -> Object:
    """The job's status; empty at first."""
    found: Object = (kube.get(namespace, "finetunejob", name) or {}).get("status", {})
    return found


def step(kube: Kube, namespace: str, name: str) -> int:
    """The last one that the job's status tells of."""
    return int((status(kube, namespace, name).get("progress") or {}).get("step", 0))


def training(kube: Kube, namespace: str, name: str) -> int:
    """Returns the step once some are done and some are left."""

    def look() -> int | None:
        progress = status(kube, namespace, name).get("progress") or {}
        done: int = progress.get("step", 0)
        return done if 0 < done < progress.get("totalSteps", 0) else None

    found: int = kube.wait(f"{name} trains", look, SECONDS, every=0.5)
    return found


def succeeded(kube: Kube, namespace: str, name: str) -> Object:
    """The job once it has succeeded."""

    def look() -> Object | None:
        found = kube.get(namespace, "finetunejob", name)
        assert (found or {}).get("status", {}).get("phase") != "Failed", found
        return found if is_true(found, "Succeeded") else None

    found: Object = kube.wait(f"{name} succeeded", look, SECONDS)
    return found


def pods(kube: Kube, namespace: str, name: str) -> list[Object]:
    """The pods of a job that train, oldest first."""
    found = kube.list(namespace, "pods", f"kubetune.io/finetunejob={name},app.kubernetes.io/component=trainer")
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def tracked(kube: Kube, question: str) -> Object:
    """What the installation's MLflow answers to a GET below ``/api/2.0/mlflow/``."""
    [service] = [
        one["metadata"]["name"]
        for one in kube.list(SYSTEM_NAMESPACE, "services")
        if "mlflow" in one["metadata"]["name"]
    ]
    with kube.forward(SYSTEM_NAMESPACE, f"svc/{service}", 5000) as port:
        address = f"http://127.0.0.1:{port}/api/2.0/mlflow/{question}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            found: Object = json.load(answer)
    return found
