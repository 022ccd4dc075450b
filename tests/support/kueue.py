"""A stand-in for Kueue: what its Job reconciler does to ``spec.suspend``, without its queues and quotas.

Kueue's own rules, from its generic reconciler: a suspended Job with its label is started once its Workload is admitted
and as often as it is found suspended while that holds; a Job that runs without admission is suspended. The Workload
belongs to its Job: when that is deleted, the admission is gone.
"""

from __future__ import annotations

import threading
from typing import Any

from tests.cluster.api import ApiError

from .kube import Kube, wait_for

Object = dict[str, Any]

LABEL = "kueue.x-k8s.io/queue-name"
PERIOD = 0.1


class KueueStandIn:
    """Use as a context manager; it works on the Jobs of one namespace that have a queue's name."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._admitted: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.started: list[str] = []
        """Uids of the Jobs it has started, one entry for each time."""

    def __enter__(self) -> KueueStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def admit(self, job: str) -> None:
        """The Workload of the Job is admitted."""
        self._admitted.add(self._kube.must("job", job)["metadata"]["uid"])

    def evict(self, job: str) -> None:
        """Its place goes to another one; it stays in the queue."""
        self._admitted.discard(self._kube.must("job", job)["metadata"]["uid"])
        wait_for(lambda: self._kube.must("job", job)["spec"]["suspend"], 10, lambda: "not suspended")

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            for job in self._kube.list("job"):
                if job["metadata"].get("labels", {}).get(LABEL) and "deletionTimestamp" not in job["metadata"]:
                    self._reconcile(job)

    def _reconcile(self, job: Object) -> None:
        uid, is_suspended = job["metadata"]["uid"], bool(job["spec"].get("suspend"))
        may_run = uid in self._admitted
        if is_suspended is not may_run or any(one["status"] == "True" for one in _final(job)):
            return
        try:
            self._kube.patch("job", job["metadata"]["name"], {"spec": {"suspend": not may_run}})
        except ApiError:
            return
        if may_run:
            self.started.append(uid)


def _final(job: Object) -> list[Object]:
    conditions: list[Object] = job.get("status", {}).get("conditions", [])
    return [one for one in conditions if one["type"] in {"Complete", "Failed"}]
