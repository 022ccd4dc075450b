"""What the tests ask of FineTuneJobs that train in the cluster."""

from __future__ import annotations

from tests.demo.kube import Kube, Object, is_true

SECONDS = 420.0
"""The longest that anything here may take."""


def training(kube: Kube, namespace: str, name: str) -> Object:
    """The job once some steps are done and some are left."""

    def look() -> Object | None:
        found = kube.get(namespace, "finetunejob", name) or {}
        progress = found.get("status", {}).get("progress") or {}
        return found if 0 < progress.get("step", 0) < progress.get("totalSteps", 0) else None

    found: Object = kube.wait(f"{name} trains", look, SECONDS, every=0.5)
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
