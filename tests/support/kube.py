"""The API server as a test's user sees it, and the kubelet's part where no kubelet runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from tests.cluster.api import NOT_FOUND, Api, ApiError

Object = dict[str, Any]
T = TypeVar("T")

_PATHS = {
    "finetunejob": "/apis/kubetune.io/v1alpha1/namespaces/{}/finetunejobs",
    "evaluation": "/apis/kubetune.io/v1alpha1/namespaces/{}/evaluations",
    "modeldeployment": "/apis/kubetune.io/v1alpha1/namespaces/{}/modeldeployments",
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "replicaset": "/apis/apps/v1/namespaces/{}/replicasets",
    "service": "/api/v1/namespaces/{}/services",
    "pod": "/api/v1/namespaces/{}/pods",
    "event": "/api/v1/namespaces/{}/events",
    "secret": "/api/v1/namespaces/{}/secrets",
    "configmap": "/api/v1/namespaces/{}/configmaps",
    "resourcequota": "/api/v1/namespaces/{}/resourcequotas",
    "autoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "persistentvolumeclaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
}
MERGE = "application/merge-patch+json"


class Kube:
    """Requests as the administrator, in one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def path(self, kind: str, name: str = "", tail: str = "") -> str:
        parts = [_PATHS[kind].format(self.namespace), name, tail]
        return "/".join(part for part in parts if part)

    def get(self, kind: str, name: str) -> Object | None:
        try:
            found: Object = self.api.request("GET", self.path(kind, name))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return found

    def must(self, kind: str, name: str) -> Object:
        found = self.get(kind, name)
        assert found is not None, f"{kind} {self.namespace}/{name} does not exist"
        return found

    def list(self, kind: str) -> list[Object]:
        items: list[Object] = self.api.request("GET", self.path(kind))["items"]
        return items

    def create(self, kind: str, obj: Object) -> Object:
        """In this namespace, whatever the object says."""
        placed = obj | {"metadata": obj["metadata"] | {"namespace": self.namespace}}
        created: Object = self.api.request("POST", self.path(kind), placed)
        return created

    def patch(self, kind: str, name: str, body: Object, tail: str = "") -> Object:
        patched: Object = self.api.request("PATCH", self.path(kind, name, tail), body, MERGE)
        return patched

    def delete(self, kind: str, name: str, propagation: str = "Background") -> None:
        self.api.request("DELETE", self.path(kind, name), {"propagationPolicy": propagation})

    def status(self, kind: str, name: str) -> Object:
        status: Object = self.must(kind, name).get("status", {})
        return status

    def condition(self, kind: str, name: str, type_: str) -> Object:
        """Empty while there is none."""
        for condition in self.status(kind, name).get("conditions", ()):
            if condition["type"] == type_:
                found: Object = condition
                return found
        return {}

    def wait_condition(self, kind: str, name: str, type_: str, reason: str, seconds: float = 30) -> Object:
        """The condition once it has that reason."""

        def look() -> Object | None:
            condition = self.condition(kind, name, type_)
            return condition if condition.get("reason") == reason else None

        return wait_for(look, seconds, lambda: f"{name}: {type_} is {self.condition(kind, name, type_)}, not {reason}")

    def wait_phase(self, kind: str, name: str, phase: str, seconds: float = 30) -> Object:
        """The status once it has that phase."""

        def look() -> Object | None:
            status = self.status(kind, name)
            return status if status.get("phase") == phase else None

        return wait_for(look, seconds, lambda: f"{name}: {json.dumps(self.status(kind, name))} is not {phase}")

    def wait_exists(self, kind: str, name: str, seconds: float = 30) -> Object:
        return wait_for(lambda: self.get(kind, name), seconds, lambda: f"{kind} {self.namespace}/{name} never came")

    def wait_gone(self, kind: str, name: str, seconds: float = 30) -> None:
        wait_for(lambda: self.get(kind, name) is None, seconds, lambda: f"{kind} {self.namespace}/{name} stays")


def wait_for(look: Callable[[], T | None], seconds: float, complaint: Callable[[], str], interval: float = 0.05) -> T:
    """What ``look`` returns once it is true; an API server that is away for a moment is waited for, too."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (OSError, ApiError) as error:
            if isinstance(error, ApiError) and error.status < 500:
                raise
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(interval)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """Writes the status of pods as a kubelet would; the control plane used here has no node, as with envtest."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        # The pod garbage collector deletes pods of a node that does not exist, 40 s after it first noticed the name.
        self.node = f"node-of-{kube.namespace}"

    def pod_of(self, job: str, seconds: float = 30) -> str:
        """Name of the Job's pod that has not ended, once it exists."""

        def look() -> str | None:
            for pod in self.kube.list("pod"):
                is_ours = pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == job
                is_ending = "deletionTimestamp" in pod["metadata"]
                if is_ours and not is_ending and pod["status"].get("phase") not in {"Succeeded", "Failed"}:
                    name: str = pod["metadata"]["name"]
                    return name
            return None

        return wait_for(look, seconds, lambda: f"Job {job} has no pod")

    def write(self, pod: str, **status: Any) -> None:
        self.kube.patch("pod", pod, {"status": status}, "status")

    def cannot_schedule(self, pod: str, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.write(pod, conditions=[condition])

    def schedule(self, pod: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        self.kube.api.request("POST", self.kube.path("pod", pod, "binding"), binding)

    def wait_in(self, pod: str, reason: str, message: str) -> None:
        """The main container cannot start."""
        self.schedule(pod)
        state = {"waiting": {"reason": reason, "message": message}}
        self.write(pod, startTime=now(), containerStatuses=[_container(self._main(pod), state)])

    def run(self, pod: str, ip: str = "127.9.9.9") -> None:
        self.schedule(pod)
        state = {"running": {"startedAt": now()}}
        containers = [_container(self._main(pod), state, ready=True)]
        self.write(pod, phase="Running", startTime=now(), podIP=ip, containerStatuses=containers)

    def succeed(self, pod: str, message: str) -> None:
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": message}}
        self.write(pod, phase="Succeeded", containerStatuses=[_container(self._main(pod), state)])

    def fail(self, pod: str, code: int, message: str = "", reason: str = "Error") -> None:
        state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
        self.write(pod, phase="Failed", containerStatuses=[_container(self._main(pod), state)])

    def finish_deletion(self, pod: str) -> None:
        """A pod on a node is gone only when its kubelet says so; one that has ended may be gone before."""
        try:
            self.kube.api.request("DELETE", self.kube.path("pod", pod), {"gracePeriodSeconds": 0})
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def _main(self, pod: str) -> str:
        name: str = self.kube.must("pod", pod)["spec"]["containers"][0]["name"]
        return name


def _container(name: str, state: Object, *, ready: bool = False) -> Object:
    return {"name": name, "image": "image", "imageID": "", "ready": ready, "restartCount": 0, "state": state}
