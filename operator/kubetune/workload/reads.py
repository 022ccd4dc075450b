"""Composite reads that several kinds need."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kubetune.common.conditions import Fact
from kubetune.common.labels import MANAGED_BY, MANAGER
from kubetune.common.pod_options import PodOptions
from kubetune.kube.client import Client, Object
from kubetune.kube.errors import ApiError
from kubetune.kube.kinds import CLAIM, CONFIGMAP, EVENT, NODE, POD, RUNTIMECLASS
from kubetune.kube.lately import lately
from kubetune.settings import Settings

from .crowd import explain_crowd, is_crowd
from .gpu import RUNTIME_CLASS, Hardware, read_demand
from .inputs import Inputs, needed_claims, needed_config_maps
from .misfit import explain_misfit, explain_taken, is_choosy, is_choosy_spec
from .pods import condition, parse_time


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


async def read_placement(client: Client, pod: Object) -> Fact | None:
    """Why no node takes the pod, as nodes, labels and our pods on them tell; None when they do not tell, when it has a
    node, or when this operator may not read nodes. Of a pod that asks for little the scheduler has to say it first."""
    if pod["spec"].get("nodeName"):
        return None
    demand, scheduled = read_demand(pod["spec"]), condition(pod, "PodScheduled") or {}
    is_refused = scheduled.get("reason") == "Unschedulable"
    if not is_refused and not is_choosy(pod["spec"]):
        return None
    made = parse_time(pod["metadata"].get("creationTimestamp"))
    since = made.timestamp() if made else time.time()
    nodes = await lately(client).get("nodes", lambda: read_nodes(client), since=since)
    if nodes is None:
        return None
    misfit = explain_misfit(pod["spec"], nodes)
    if misfit or not is_refused:
        return misfit
    said, namespace = scheduled.get("message", ""), pod["metadata"]["namespace"]
    if demand and demand.resource in said:
        return explain_taken(pod["spec"], nodes, await _read_our_pods(client, namespace, since))
    return explain_crowd(pod["spec"], await _read_our_pods(client, namespace, since), said) if is_crowd(said) else None


async def _read_our_pods(client: Client, namespace: str, since: float) -> list[Object]:
    """Those of every namespace, or of this one where the operator may not read the others."""

    async def read() -> list[Object] | None:
        try:
            return await client.list(POD, labels={MANAGED_BY: MANAGER})
        except ApiError as error:
            if error.is_forbidden:
                return None
            raise

    async def read_here() -> list[Object]:
        return await client.list(POD, namespace, labels={MANAGED_BY: MANAGER})

    found: list[Object] | None = await lately(client).get("pods", read, since=since)
    if found is None:
        found = await lately(client).get(f"pods/{namespace}", read_here, since=since)
    return found or []


async def read_hardware(
    client: Client, options: PodOptions, settings: Settings, *, was_misfit: bool = False
) -> Hardware:
    """What matters while a pod is made as ``options`` say; costs nothing where any node will do, unless none could take
    it the last time."""
    asked = options.resources
    if not asked.gpu and not was_misfit and not is_choosy_spec(options):
        return Hardware()
    nodes = await read_nodes(client)
    runtime_class = (settings.runtime_class or await read_runtime_class(client)) if asked.gpu else ""
    return Hardware(None if nodes is None else tuple(nodes), runtime_class)


async def read_runtime_class(client: Client) -> str:
    """The RuntimeClass for pods with a GPU; empty when there is none or this operator may not read it."""
    try:
        found = await client.get(RUNTIMECLASS, None, RUNTIME_CLASS)
    except ApiError as error:
        if error.is_forbidden:
            return ""
        raise
    return RUNTIME_CLASS if found else ""


async def read_nodes(client: Client, name: str | None = None) -> list[Object] | None:
    """All nodes, or the one of that name; None when this operator may not read nodes (it serves named namespaces only,
    and the chart's rbac.readNodes is off)."""
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
