"""What N FineTuneJobs cost while they run, and how soon a change of a pod is in the status.

The control plane is real. The pods' kubelet is this process, and what they say of their progress comes from doubles
(``tests.support.trainers``) in a process of its own, at the real port and in the real form.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import statistics
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kubetune.common.decision import Patch, Ref
from kubetune.kube.client import Client
from kubetune.kube.kinds import FINETUNEJOB, JOB, POD, Resource
from kubetune_contract.paths import PROGRESS_PORT
from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.bulk import connected, create_all, for_all
from tests.support.kube import MERGE, now
from tests.support.objects import finetunejob, train_summary
from tests.support.operator import Operator
from tests.support.trainers import STEPS_PER_SECOND, Trainers, address

from .place import NAMESPACE, fresh_cluster, operator_at
from .proc import Machine, cpu_seconds, peak_rss_mib

Object = dict[str, Any]
NODE = "bench-node"
EXTRA = 60
"""Jobs beside the N whose pods change while it is measured how soon the status says so."""
SETTLE_SECONDS = 20.0
BEAT_SECONDS = 10.0
GAP_SECONDS = 0.25
"""Between two changes of pods: what is measured is how soon, not how many."""
PARTS = ("kube-apiserver", "etcd", "kube-controller-manager")


@dataclass
class Running:
    """One row of the table; CPU in seconds per second, that is in cores."""

    count: int
    seconds: float
    operator_cores: float
    cores: dict[str, float]
    requests_per_second: dict[str, float]
    polls_per_second: float
    peak_rss_mib: float
    series_lag_seconds: float
    """How far the metrics are behind what the pods say, at most."""
    status_age_seconds: float
    """The oldest progress that a status shows."""
    to_running: tuple[float, float, float]
    """From the pod's start to the status: p50, p99 and most, in milliseconds."""
    to_succeeded: tuple[float, float, float]
    """From the Job's end to the status."""
    stolen_share: float
    busy_share: float

    def to_json(self) -> Object:
        return asdict(self)


def measure(count: int, seconds: float) -> Running:
    """``count`` run for ``seconds``."""
    with fresh_cluster() as cluster, Trainers(count + EXTRA), operator_at(cluster) as operator:
        api = Api(cluster.addresses, cluster.layout.pki)
        _add_node(api)
        operator.start()
        operator.wait_ready()
        create_all(cluster.kubeconfig, [_placed(f"job-{index}") for index in range(count + EXTRA)])
        return asyncio.run(_measure(cluster, operator, api, count, seconds))


async def _measure(cluster: Cluster, operator: Operator, api: Api, count: int, seconds: float) -> Running:
    beat = asyncio.create_task(_beat(api))
    async with connected(cluster.kubeconfig, 16) as client:
        pods = await _pods(client, count + EXTRA)
        chosen = [f"job-{index}" for index in range(count)]
        await for_all(chosen, lambda name: _schedule(client, pods[name]), 16)
        await for_all(enumerate(chosen), lambda one: _run(client, pods[one[1]], address(one[0])), 16)
        await _until(lambda: operator.total("kubetune_finetunejobs", "Running") >= count)
        await asyncio.sleep(SETTLE_SECONDS)
        # What all have to say in the beginning is written first.
        await _until(lambda: operator.total("kubetune_workqueue_depth") <= 1)
        await asyncio.sleep(SETTLE_SECONDS)
        spent = await _spend(cluster, operator, seconds)
        lag, age = await asyncio.to_thread(_lag, operator), await _status_age(client)
        extra = [f"job-{index}" for index in range(count, count + EXTRA)]
        to_running, to_succeeded = await _latencies(cluster, client, {name: pods[name] for name in extra}, count)
    beat.cancel()
    return Running(
        count=count,
        peak_rss_mib=peak_rss_mib(operator.pid),
        series_lag_seconds=lag,
        status_age_seconds=age,
        to_running=to_running,
        to_succeeded=to_succeeded,
        **spent,
    )


async def _spend(cluster: Cluster, operator: Operator, seconds: float) -> Object:
    pids = {part: cluster.pid(part) for part in PARTS} | {"operator": operator.pid}

    def now_spent() -> dict[str, float]:
        return {part: cpu_seconds(pid) for part, pid in pids.items()}

    machine, before, asked, began = Machine.now(), now_spent(), _requests(operator), time.monotonic()
    polls = operator.total("kubetune_polls_total")
    await asyncio.sleep(seconds)
    span = time.monotonic() - began
    after, later = now_spent(), Machine.now()
    cores = {part: (after[part] - before[part]) / span for part in pids}
    requests = {name: (n - asked.get(name, 0.0)) / span for name, n in _requests(operator).items()}
    return {
        "seconds": span,
        "operator_cores": cores.pop("operator"),
        "cores": cores,
        "polls_per_second": (operator.total("kubetune_polls_total") - polls) / span,
        "requests_per_second": {name: round(n, 2) for name, n in requests.items() if n},
        "stolen_share": machine.stolen_share(later),
        "busy_share": machine.busy_share(later),
    }


def _requests(operator: Operator) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in operator.metrics().items():
        if key[0] == "kubetune_rest_client_requests_total":
            found[f"{key[3]} {key[2]}"] = found.get(f"{key[3]} {key[2]}", 0.0) + value
    return found


def _lag(operator: Operator) -> float:
    """Seconds by which the series are behind the pods, at most; what the scrape itself takes counts against them. All
    doubles are at the same step."""
    shown = [value for key, value in operator.metrics().items() if key[0] == "kubetune_finetunejob_step"]
    with urllib.request.urlopen(f"http://{address(0)}:{PROGRESS_PORT}/progress", timeout=5) as answer:
        step: int = json.load(answer)["step"]
    return (step - min(shown)) / STEPS_PER_SECOND


async def _status_age(client: Client) -> float:
    found = [obj async for page in client.pages(FINETUNEJOB, NAMESPACE) for obj in page]
    said = [obj["status"].get("progress", {}).get("updatedAt") for obj in found if obj["status"]["phase"] == "Running"]
    times = [time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone for text in said if text]
    return time.time() - min(times)


class Sight:
    """When a watch first saw each object in each state, on this process's clock."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], float] = {}

    async def watch(self, cluster: Cluster, resource: Resource, state: Any) -> None:
        pki: Path = cluster.layout.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        url = f"https://{cluster.addresses.node}:6443{resource.path(NAMESPACE)}?watch=true&resourceVersion=0"
        timeout = aiohttp.ClientTimeout(total=None)
        session = aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22)
        async with session:
            while True:
                async with session.get(url, ssl=context) as answer:
                    async for line in answer.content:
                        at, told = time.monotonic(), json.loads(line)
                        if told["type"] == "ERROR":
                            print(f"{resource.plural}: the watch begins anew: {told['object']}", file=sys.stderr)
                            break
                        if name := state(told["object"]):
                            self.seen.setdefault(name, at)


def _pod_state(obj: Object) -> tuple[str, str] | None:
    return (_owner(obj), "pod " + obj.get("status", {}).get("phase", ""))


def _job_state(obj: Object) -> tuple[str, str] | None:
    ended = any(one["type"] == "Complete" for one in obj.get("status", {}).get("conditions", ()))
    return (_owner(obj), "job ended") if ended else None


def _custom_state(obj: Object) -> tuple[str, str]:
    return (obj["metadata"]["name"], obj.get("status", {}).get("phase", ""))


async def _latencies(
    cluster: Cluster, client: Client, pods: dict[str, str], first: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    sight = Sight()
    watches = [
        asyncio.create_task(sight.watch(cluster, resource, state))
        for resource, state in ((POD, _pod_state), (JOB, _job_state), (FINETUNEJOB, _custom_state))
    ]
    await for_all(pods.values(), lambda pod: _schedule(client, pod), 16)
    await asyncio.sleep(2)
    for index, pod in enumerate(pods.values()):
        await _run(client, pod, address(first + index))
        await asyncio.sleep(GAP_SECONDS)
    await _until(lambda: all((name, "Running") in sight.seen for name in pods))
    for pod in pods.values():
        await _succeed(client, pod)
        await asyncio.sleep(GAP_SECONDS)
    ends = [(name, state) for name in pods for state in ("Succeeded", "job ended")]
    await _until(lambda: any(task.done() for task in watches) or set(ends) <= sight.seen.keys())
    for task in watches:
        assert not task.done(), task.exception()
        task.cancel()
    running = [sight.seen[name, "Running"] - sight.seen[name, "pod Running"] for name in pods]
    ended = [sight.seen[name, "Succeeded"] - sight.seen[name, "job ended"] for name in pods]
    return _quantiles(running), _quantiles(ended)


def _quantiles(seconds: list[float]) -> tuple[float, float, float]:
    ordered = sorted(1000 * one for one in seconds)
    return statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1]


def _add_node(api: Api) -> None:
    """Without it the pod garbage collector deletes the pods, and without its heartbeat they are evicted."""
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    lease = {"metadata": {"name": NODE}, "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40}}
    api.request("POST", path, lease)
    _be_ready(api)


def _be_ready(api: Api) -> None:
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
    api.request("PATCH", lease, {"spec": {"renewTime": now().replace("Z", ".000000Z")}}, MERGE)
    condition = {"type": "Ready", "status": "True", "reason": "Bench", "lastHeartbeatTime": now()}
    api.request("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {"conditions": [condition]}}, MERGE)


async def _beat(api: Api) -> None:
    while True:
        await asyncio.to_thread(_be_ready, api)
        await asyncio.sleep(BEAT_SECONDS)


async def _pods(client: Client, count: int) -> dict[str, str]:
    """FineTuneJob -> its pod, once all have one."""
    found: dict[str, str] = {}
    while len(found) < count:
        await asyncio.sleep(1)
        items = [pod async for page in client.pages(POD, NAMESPACE) for pod in page]
        found = {_owner(pod): pod["metadata"]["name"] for pod in items}
    return found


def _owner(child: Object) -> str:
    name: str = child["metadata"]["labels"]["kubetune.io/finetunejob"]
    return name


async def _schedule(client: Client, pod: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod, "namespace": NAMESPACE}}
    await client._call("create", POD, POD.path(NAMESPACE, pod, "binding"), body=binding | {"target": target})


async def _run(client: Client, pod: str, ip: str) -> None:
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now()}
    await _write(client, pod, status, {"running": {"startedAt": now()}})


async def _succeed(client: Client, pod: str) -> None:
    ended = {"exitCode": 0, "reason": "Completed", "message": train_summary(), "finishedAt": now()}
    await _write(client, pod, {"phase": "Succeeded"}, {"terminated": ended})


async def _write(client: Client, pod: str, status: Object, state: Object) -> None:
    container = {"name": "train", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    body = {"status": status | {"containerStatuses": [container]}}
    path = POD.path(NAMESPACE, pod, "status")
    await client._call("patch", POD, path, body=Patch(Ref("v1", "Pod", NAMESPACE, pod), body).body)


async def _until(done: Any, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(done):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached within {seconds:.0f} s")
        await asyncio.sleep(0.5)


def _placed(name: str) -> Object:
    return finetunejob(name, NAMESPACE)
