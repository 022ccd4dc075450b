"""A namespace in memory, with what Kubernetes does to Jobs and pods, for trying the queue in any order of events."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from prometheus_client import CollectorRegistry

from kubetune.finetunejob.controller import FineTuneJobController
from kubetune.finetunejob.report.series import ProgressSeries
from kubetune.kube.client import Client
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import FINETUNEJOB, JOB, NODE, POD, Resource
from kubetune.runs.read import final_condition, is_suspended
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.refusal import refuse_by_server
from kubetune.settings import Settings
from kubetune.workload.misfit import explain_misfit
from kubetune.workload.pods import is_finished

from .nodes import gpu_node
from .objects import finetunejob, train_summary

Object = dict[str, Any]
NAMESPACE = "ns"
QUOTA = ApiError(403, "Forbidden", "exceeded quota: small, requested: count/jobs.batch=1")
START = datetime(2026, 1, 2, tzinfo=UTC)


class Line:
    """FineTuneJobs, their Jobs, pods and nodes; every method is one thing that happens."""

    def __init__(self, limit: int, specs: dict[str, Object], **settings: Any) -> None:
        self.settings = Settings(max_running_per_namespace=limit, **settings)
        self.customs: dict[str, Object] = {}
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.nodes: dict[str, Object] = {}
        self.refused: set[str] = set()
        """Those whose Job a quota refuses."""
        self.writes = 0
        self.now = START
        for second, (name, spec) in enumerate(specs.items()):
            obj = finetunejob(name, NAMESPACE, **spec)
            created = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
            obj["metadata"] |= {"uid": name, "generation": 1, "creationTimestamp": created}
            self.customs[name] = obj
        self.restart()

    def restart(self) -> None:
        """Another operator takes over, with nothing in its memory."""
        polls = Polls(WorkQueue(lambda: 0.0), Poller(), self.settings.poll_seconds)
        self.controller = FineTuneJobController(self.settings, polls, ProgressSeries(CollectorRegistry()))

    is_live = True

    async def could_create(self, _: Object) -> bool:
        """Every Secret exists."""
        return False

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        await asyncio.sleep(0)
        return deepcopy(self.jobs.get(name)) if resource == JOB else None

    async def list(self, resource: Resource, namespace: str | None = None, **asked: Any) -> list[Object]:
        kinds = {FINETUNEJOB: self.customs, JOB: self.jobs, POD: self.pods, NODE: self.nodes}
        found = deepcopy(list(kinds.get(resource, {}).values()))
        await asyncio.sleep(0)
        uid = (asked.get("labels") or {}).get("batch.kubernetes.io/controller-uid")
        return [one for one in found if uid is None or one["metadata"]["job"] == uid]

    async def look(self, *names: str) -> None:
        """One pass of the operator over each of them, all at once."""
        await asyncio.gather(*map(self._pass, names))

    async def _pass(self, name: str) -> None:
        raw = deepcopy(self.customs[name])
        obj = self.controller.parse(raw)
        observed = await self.controller.gather(cast(Client, self), obj, fresh=not raw.get("status"))
        decision = self.controller.decide(obj, observed, self.now)
        await asyncio.sleep(0)
        if decision.create and name in self.refused:
            self.controller.refused(obj)
            self.customs[name]["status"] = refuse_by_server(raw, QUOTA, self.now, "", decision.status).status
            return
        for made in decision.create:
            self._create(name, made)
        if not all([self._patch(patch.ref.name, patch.body) for patch in decision.patch]):
            return
        await asyncio.sleep(0)
        if self.customs[name].get("status") != decision.status:
            self.writes += 1
            self.customs[name]["status"] = decision.status

    def _create(self, name: str, made: Object) -> None:
        assert made["metadata"]["name"] not in self.jobs
        self.writes += 1
        metadata = made["metadata"] | {"uid": name, "resourceVersion": "1"}
        self.jobs[made["metadata"]["name"]] = made | {"metadata": metadata, "status": {}}

    def _patch(self, name: str, body: Object) -> bool:
        """False: a conflict, as the Job is not what it was when it was read."""
        job, asked = self.jobs[name], body.get("metadata", {})
        if asked.get("resourceVersion", job["metadata"]["resourceVersion"]) != job["metadata"]["resourceVersion"]:
            return False
        self.writes += 1
        assert not (body["spec"].get("suspend") and self.is_running(job["metadata"]["uid"])), "a training was stopped"
        job["spec"] |= body["spec"]
        job["metadata"]["annotations"] = job["metadata"].get("annotations", {}) | asked.get("annotations", {})
        self._touch(job)
        return True

    def control(self, name: str) -> None:
        """The Job controller: pods of active Jobs are made, those of suspended ones are ended."""
        job = self.jobs.get(f"{name}-train")
        if job is None or final_condition(job):
            return
        pod = self.pods.get(name)
        if is_suspended(job):
            self.pods.pop(name, None)
            job["status"]["active"] = 0
        elif pod is None:
            metadata = {"name": f"{name}-pod", "namespace": NAMESPACE, "uid": f"{name}-pod", "job": name}
            spec = deepcopy(job["spec"]["template"]["spec"])
            self.pods[name] = {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}
            job["status"]["active"] = 1
        elif is_finished(pod):
            done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-03T00:00:00Z"}
            job["status"] = {"active": 0, "succeeded": 1, "conditions": [done]}
        self._touch(job)

    def schedule(self, name: str) -> None:
        """The scheduler and the kubelet: a pod that some node can take runs."""
        pod = self.pods.get(name)
        if pod is None or pod["spec"].get("nodeName"):
            return
        if explain_misfit(pod["spec"], self.nodes.values()):
            refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes."}
            pod["status"]["conditions"] = [refusal]
            return
        pod["spec"]["nodeName"] = "node"
        running = {"name": "train", "image": "image", "state": {"running": {}}}
        pod["status"] = {"phase": "Running", "startTime": "2026-01-02T00:00:00Z", "containerStatuses": [running]}
        self._touch(self.jobs[f"{name}-train"])

    def end(self, name: str) -> None:
        """A pod that runs is done."""
        pod = self.pods.get(name)
        if pod is None or not pod["spec"].get("nodeName"):
            return
        state = {"terminated": {"exitCode": 0, "message": train_summary()}}
        pod["status"] |= {"phase": "Succeeded", "containerStatuses": [{"name": "train", "image": "i", "state": state}]}

    def lose_pod(self, name: str) -> None:
        """Its node is gone, and it with it."""
        if self.is_running(name):
            del self.pods[name]

    def set_node(self, memory: int | None, main_memory: str = "32Gi") -> None:
        """A node with one GPU of so many MiB; None takes it away."""
        self.nodes = {} if memory is None else {"pc": gpu_node("pc", memory, main_memory=main_memory)}

    def is_running(self, name: str) -> bool:
        pod = self.pods.get(name)
        return bool(pod and pod["spec"].get("nodeName") and not is_finished(pod))

    def has_place(self, name: str) -> bool:
        job = self.jobs.get(f"{name}-train")
        return bool(job and not final_condition(job) and (not is_suspended(job) or name in self.pods))

    def reason(self, name: str) -> str | None:
        """That of the condition Scheduled."""
        conditions = self.customs[name].get("status", {}).get("conditions", ())
        return next((one["reason"] for one in conditions if one["type"] == "Scheduled"), None)

    def phase(self, name: str) -> str:
        found: str = self.customs[name].get("status", {}).get("phase", "")
        return found

    def _touch(self, job: Object) -> None:
        job["metadata"]["resourceVersion"] = str(int(job["metadata"]["resourceVersion"]) + 1)

    async def settle(self, rounds: int = 12) -> None:
        """Everybody looks and acts in turn, often enough for whatever is to happen."""
        for _ in range(rounds):
            self.now += timedelta(seconds=30)
            for name in self.customs:
                await self.look(name)
                self.control(name)
                self.schedule(name)
