"""Composite reads that several kinds need."""

from __future__ import annotations

from collections.abc import Iterable

from kubetune.workload.inputs import Inputs, needed_claims, needed_config_maps
from kubetune.workload.pods import condition, container_statuses, is_finished, newest
from kubetune.workload.run import JobObservation, final_condition, is_suspended

from .client import Client, Object
from .errors import ApiError
from .kinds import CLAIM, CONFIGMAP, EVENT, JOB, NODE, POD


async def read_inputs(client: Client, namespace: str, used: Iterable[str]) -> Inputs:
    """The claims and ConfigMaps named by the URIs ``used``; costs nothing when none is."""
    wanted = tuple(used)
    claims = {name: await client.get(CLAIM, namespace, name) for name in needed_claims(wanted)}
    maps = {name: await client.get(CONFIGMAP, namespace, name) for name in needed_config_maps(wanted)}
    return Inputs(
        claims={name: obj.get("status", {}).get("phase", "Pending") if obj else None for name, obj in claims.items()},
        config_maps={
            name: None if obj is None else frozenset([*(obj.get("data") or ()), *(obj.get("binaryData") or ())])
            for name, obj in maps.items()
        },
    )


async def read_job(client: Client, namespace: str, name: str, gpu_resource: str) -> JobObservation:
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
        gpu_on_a_node=await _read_gpu_on_a_node(client, pod, gpu_resource) if pod else None,
    )


async def read_gpu_on_a_node(client: Client, gpu_resource: str) -> bool | None:
    """Whether any node offers the resource; None when this operator may not read nodes."""
    nodes = await read_nodes(client)
    if nodes is None:
        return None
    return any(node.get("status", {}).get("allocatable", {}).get(gpu_resource, "0") != "0" for node in nodes)


async def read_nodes(client: Client, name: str | None = None) -> list[Object] | None:
    """All nodes, or the one of that name; None when this operator may not read nodes (it serves named namespaces)."""
    try:
        return await client.list(NODE, fields={"metadata.name": name} if name else None)
    except ApiError as error:
        if error.is_forbidden:
            return None
        raise


async def read_warnings(client: Client, obj: Object) -> tuple[Object, ...]:
    """Warning Events about one object."""
    metadata = obj["metadata"]
    fields = {"involvedObject.uid": metadata["uid"], "type": "Warning"}
    return tuple(await client.list(EVENT, metadata["namespace"], fields=fields))


async def _read_warnings(client: Client, obj: Object, *, needed: bool) -> tuple[Object, ...]:
    return await read_warnings(client, obj) if needed else ()


async def _read_gpu_on_a_node(client: Client, pod: Object, gpu_resource: str) -> bool | None:
    scheduled = condition(pod, "PodScheduled")
    if not scheduled or scheduled.get("reason") != "Unschedulable" or gpu_resource not in scheduled.get("message", ""):
        return None
    return await read_gpu_on_a_node(client, gpu_resource)


def _is_starting(pod: Object) -> bool:
    """On a node, but without a single container that got further than being created."""
    states = [status.get("state") or {} for status in container_statuses(pod)]
    has_begun = any("running" in state or "terminated" in state for state in states)
    return bool(pod["spec"].get("nodeName")) and not has_begun
