"""Reads a Job and what is needed to say how far it is."""

from __future__ import annotations

from kubetune.common.conditions import Fact
from kubetune.common.meta import ObjectMeta
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import JOB, POD
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.gpu import Hardware
from kubetune.workload.misfit import expect_placement, is_choosy
from kubetune.workload.pods import container_statuses, is_finished, newest
from kubetune.workload.reads import read_nodes, read_placement, read_warnings

from .read import JobObservation, final_condition, is_suspended
from .sweep import is_told


async def read_job(client: Client, namespace: str, name: str) -> JobObservation:
    """The Job, its pods, and where these are not enough to say why nothing runs, Events and nodes."""
    job = await client.get(JOB, namespace, name)
    if job is None:
        return JobObservation()
    pods = await client.list(POD, namespace, labels={"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]})
    if final_condition(job) or is_suspended(job):
        return JobObservation(job, tuple(pods))
    pod = newest(pod for pod in pods if not is_finished(pod))
    return JobObservation(
        job,
        tuple(pods),
        warnings=await _read_warnings(client, job if pod is None else pod, needed=pod is None or _is_starting(pod)),
        placement=await read_placement(client, pod) if pod else await _expect_placement(client, job),
    )


async def _expect_placement(client: Client, job: Object) -> Fact | None:
    """Why no node takes the pod that the Job is about to make. It is told before the pod is there, so that the message
    does not come and go with it."""
    spec = job["spec"]["template"]["spec"]
    nodes = await read_nodes(client) if is_choosy(spec) else None
    return expect_placement(spec, Hardware(None if nodes is None else tuple(nodes)))


async def _read_warnings(client: Client, obj: Object, *, needed: bool) -> tuple[Object, ...]:
    return await read_warnings(client, obj) if needed else ()


def _is_starting(pod: Object) -> bool:
    """On a node, but without a single container that got further than being created."""
    states = [status.get("state") or {} for status in container_statuses(pod)]
    has_begun = any("running" in state or "terminated" in state for state in states)
    return bool(pod["spec"].get("nodeName")) and not has_begun


class Swept:
    """Which finished objects need no look at their Job any more, so that each costs a request or two in a process' life
    and none with every resync."""

    def __init__(self, keep_seconds: int) -> None:
        """``keep_seconds`` is how long a finished Job stays; with 0 as long as its owner, and nothing is looked at."""
        self._keep_seconds = keep_seconds
        self._done: dict[tuple[str, str], str] = {}

    async def look(self, client: Client, owner: ObjectMeta, name: str) -> Object | None:
        """The Job ``name`` of ``owner``; None when there is nothing to tell Kubernetes."""
        key = (owner.namespace, owner.name)
        if not self._keep_seconds or self._done.get(key) == owner.uid:
            return None
        job = await client.get(JOB, owner.namespace, name)
        if job is None or is_told(job) or not is_owned_by(job, owner.uid):
            self._done[key] = owner.uid
            return None
        return job

    def forget(self, namespace: str, owner: str) -> None:
        self._done.pop((namespace, owner), None)
