"""A queue of Kueue's for one namespace: a flavor, a ClusterQueue with quota, and the LocalQueue that leads to it.

What is more urgent takes the place of what is less so.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.cluster.api import NOT_FOUND, ApiError

from .kube import MERGE, Kube, wait_for

Object = dict[str, Any]

LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
POOL = {"example.com/pool": "trainings"}
"""Labels of the nodes that the flavor stands for."""
URGENT = 1000
"""The priority of the class that a queue brings along; others' is 0."""
API = "/apis/kueue.x-k8s.io/v1beta2"


class Queue:
    """Use as a context manager: ``name`` is the LocalQueue's. There is room for ``cpus`` CPUs, and for any memory."""

    def __init__(self, kube: Kube, name: str, cpus: int = 0) -> None:
        self.kube = kube
        self.name = name
        self._cpus = cpus
        # Flavors and ClusterQueues belong to no namespace.
        self._own = f"{name}-{kube.namespace}"
        self._flavor = f"{API}/resourceflavors"
        self._cluster_queue = f"{API}/clusterqueues"
        self._local = f"{API}/namespaces/{kube.namespace}/localqueues"
        self._priority = f"{API}/workloadpriorityclasses"

    def __enter__(self) -> Queue:
        self._create(self._priority, "WorkloadPriorityClass", self._own, members={"value": URGENT})
        self._create(self._flavor, "ResourceFlavor", self._own, {"nodeLabels": POOL})
        self._create(self._cluster_queue, "ClusterQueue", self._own, self._rules() | self._groups())
        self._create(self._local, "LocalQueue", self.name, {"clusterQueue": self._own})
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for its members to have left: Kueue keeps a ClusterQueue while something is admitted to it."""
        for kind in ("finetunejob", "job"):
            for found in self.kube.list(kind):
                self._delete(self.kube.path(kind, found["metadata"]["name"]))
        wait_for(lambda: not self.workloads(), 30, lambda: f"Workloads stay: {self.workloads()}")
        shared = (self._cluster_queue, self._flavor, self._priority)
        for place in (f"{self._local}/{self.name}", *(f"{kind}/{self._own}" for kind in shared)):
            self._delete(place)
            wait_for(partial(self._is_gone, place), 30, partial("{} stays".format, place))

    def give(self, cpus: int) -> None:
        """Its quota is that many CPUs from now on."""
        self._cpus = cpus
        self._change(self._groups())

    def admit(self) -> None:
        """Whoever there is quota for may run."""
        self._change({"stopPolicy": "None"})

    def hold(self) -> None:
        """Nobody new is admitted."""
        self._stop("Hold")

    def evict(self) -> None:
        """Whoever runs loses its place and queues again; nobody is admitted."""
        self._stop("HoldAndDrain")

    def urgent(self, name: str) -> Object:
        """A Job of its own kind in this queue, for one CPU and before all others."""
        labels = {LABEL: self.name, PRIORITY_LABEL: self._own}
        container = {"name": "main", "image": "image", "resources": {"requests": {"cpu": "1"}}}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        spec = {"suspend": True, "backoffLimit": 0, "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}

    def workload(self, job: str) -> Object | None:
        """Kueue's own account of the Job."""
        uid = self.kube.must("job", job)["metadata"]["uid"]
        mine = (one for one in self.workloads() if any(owner["uid"] == uid for owner in _owners(one)))
        return next(mine, None)

    def workloads(self) -> list[Object]:
        """All of this namespace."""
        items: list[Object] = self.kube.api.request("GET", f"{API}/namespaces/{self.kube.namespace}/workloads")["items"]
        return items

    def starts(self, job: str) -> int:
        """How often Kueue has started Jobs of that name, as its Events say."""
        events = self.kube.list("event")
        mine = [one for one in events if one["involvedObject"]["name"] == job and one["reason"] == "Started"]
        return sum(one.get("count") or 1 for one in mine if "kueue" in _source(one))

    def _rules(self) -> Object:
        return {"namespaceSelector": {}, "preemption": {"withinClusterQueue": "LowerPriority"}}

    def _groups(self) -> Object:
        quotas = [{"name": "cpu", "nominalQuota": str(self._cpus)}, {"name": "memory", "nominalQuota": "1Ti"}]
        flavor = {"name": self._own, "resources": quotas}
        return {"resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [flavor]}]}

    def _create(
        self, place: str, kind: str, name: str, spec: Object | None = None, members: Object | None = None
    ) -> None:
        body: Object = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}}
        body |= members or {"spec": spec}
        wait_for(lambda: self.kube.api.request("POST", place, body), 30, lambda: f"{kind} {name} is not accepted")

    def _delete(self, place: str) -> None:
        """Unless somebody else has done it."""
        try:
            self.kube.api.request("DELETE", place, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def _stop(self, policy: str) -> None:
        """Returns once Kueue goes by it."""
        self._change({"stopPolicy": policy})
        wait_for(self._is_stopped, 15, lambda: f"Kueue takes no notice of {policy} in {self._own}")

    def _is_stopped(self) -> bool:
        found = self.kube.api.request("GET", f"{self._cluster_queue}/{self._own}")
        conditions = found.get("status", {}).get("conditions", [])
        return any((one["type"], one["reason"]) == ("Active", "Stopped") for one in conditions)

    def _change(self, spec: Object) -> None:
        self.kube.api.request("PATCH", f"{self._cluster_queue}/{self._own}", {"spec": spec}, MERGE)

    def _is_gone(self, place: str) -> bool:
        try:
            self.kube.api.request("GET", place)
        except ApiError as error:
            return error.status == NOT_FOUND
        return False


def _owners(workload: Object) -> list[Object]:
    owners: list[Object] = workload["metadata"].get("ownerReferences", [])
    return owners


def _source(event: Object) -> str:
    return f"{event.get('source', {}).get('component', '')} {event.get('reportingComponent', '')}"
