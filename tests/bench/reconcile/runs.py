"""The measured runs; each has a fresh cluster, so that none pays for another's leftovers."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kubetune.kube.kinds import FINETUNEJOB, JOB
from tests.cluster import Cluster
from tests.support.bulk import connected, create_all
from tests.support.objects import finetunejob
from tests.support.operator import Operator

from . import floor
from .place import NAMESPACE, fresh_cluster, operator_at
from .proc import Machine, cpu_seconds, peak_rss_mib

LIMIT_SECONDS = 900.0
Object = dict[str, Any]


@dataclass
class Result:
    """One row of the table."""

    run: str
    count: int
    seconds: float
    per_second: float
    client_cpu_seconds: float
    api_cpu_seconds: float
    stolen_share: float
    busy_share: float
    reconciles_per_object: float | None = None
    writes_per_object: float | None = None
    peak_rss_mib: float | None = None
    of_floor: float | None = None
    start_seconds: float | None = None
    requests: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> Object:
        return asdict(self)


class Bench:
    """All runs for one number of objects."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.objects = [_placed(finetunejob(f"job-{index}")) for index in range(count)]

    def floor_existing(self) -> Result:
        with fresh_cluster() as cluster:
            create_all(cluster.kubeconfig, self.objects)
            watch = _Watch(cluster, os.getpid())
            asyncio.run(floor.write_beside(cluster.kubeconfig, NAMESPACE))
            return watch.result("bare client, objects exist", self.count)

    def floor_created(self) -> Result:
        with fresh_cluster() as cluster:
            watch = _Watch(cluster, os.getpid())
            asyncio.run(floor.write_all(cluster.kubeconfig, self.objects))
            return watch.result("bare client, creates them", self.count)

    def operator_existing(self, floor_result: Result) -> Result:
        """From the moment the operator answers at /healthz and begins to list; its start is told apart."""
        with fresh_cluster() as cluster, operator_at(cluster) as operator:
            create_all(cluster.kubeconfig, self.objects)
            started = time.monotonic()
            operator.start()
            operator.wait_alive()
            watch = _Watch(cluster, operator.pid)
            start_seconds = time.monotonic() - started
            result = self._finish(watch, operator, "operator, objects exist before it starts", floor_result)
            result.start_seconds = start_seconds
            return result

    def operator_created(self, floor_result: Result) -> Result:
        """From the first object's creation by a client of its own; the operator idles before."""
        with fresh_cluster() as cluster, operator_at(cluster) as operator:
            operator.start()
            operator.wait_ready()
            time.sleep(1)
            watch = _Watch(cluster, operator.pid)
            creator = threading.Thread(target=create_all, args=(cluster.kubeconfig, self.objects))
            creator.start()
            result = self._finish(watch, operator, "operator, objects created while it runs", floor_result)
            creator.join()
            return result

    def _finish(self, watch: _Watch, operator: Operator, name: str, floor_result: Result) -> Result:
        """Waits by the operator's cheap counters, then checks with the API server that everything is really there."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while operator.total("kubetune_rest_client_requests_total", "finetunejobs", "apply", "200") < self.count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name}: not done after {LIMIT_SECONDS:.0f} s; see {operator.log}")
            time.sleep(0.05)
        result = watch.result(name, self.count)
        result.of_floor = result.per_second / floor_result.per_second
        asyncio.run(_check_complete(operator.kubeconfig, self.count))
        # What comes late (echoes of the Job controller's own writes) belongs to the objects, too.
        time.sleep(3)
        metrics = operator.metrics()
        result.peak_rss_mib = peak_rss_mib(operator.pid)
        result.reconciles_per_object = operator.total("kubetune_reconcile_total") / self.count
        result.requests = _requests(metrics)
        # The operator's lease is renewed however many objects there are.
        of_objects = {what: n for what, n in result.requests.items() if " leases" not in what}
        writes = sum(n for verb, n in of_objects.items() if verb.split()[0] not in {"get", "list"})
        result.writes_per_object = writes / self.count
        return result


class _Watch:
    """Clock and CPU counters from one moment on."""

    def __init__(self, cluster: Cluster, client: int) -> None:
        """``client`` is the pid of the operator or of the bare client."""
        self._client, self._server = client, cluster.pid("kube-apiserver")
        self._machine = Machine.now()
        self._client_cpu, self._server_cpu = cpu_seconds(self._client), cpu_seconds(self._server)
        self._started = time.monotonic()

    def result(self, run: str, count: int) -> Result:
        seconds = time.monotonic() - self._started
        machine = Machine.now()
        return Result(
            run=run,
            count=count,
            seconds=seconds,
            per_second=count / seconds,
            client_cpu_seconds=cpu_seconds(self._client) - self._client_cpu,
            api_cpu_seconds=cpu_seconds(self._server) - self._server_cpu,
            stolen_share=self._machine.stolen_share(machine),
            busy_share=self._machine.busy_share(machine),
        )


async def _check_complete(kubeconfig: Path, count: int) -> None:
    """Reads everything back in portions: a Job and a status for every object."""
    async with connected(kubeconfig, 2) as client:
        jobs = [job async for page in client.pages(JOB, NAMESPACE) for job in page]
        objects = [obj async for page in client.pages(FINETUNEJOB, NAMESPACE) for obj in page]
    owners = {job["metadata"]["ownerReferences"][0]["uid"] for job in jobs}
    told = {obj["metadata"]["uid"] for obj in objects if obj.get("status", {}).get("phase")}
    if not len(owners) == len(told) == count or owners != told:
        raise AssertionError(f"{len(owners)} Jobs and {len(told)} statuses for {count} objects")


def _requests(metrics: dict[tuple[str, ...], float]) -> dict[str, int]:
    """``verb resource`` -> requests; label values come in the order code, resource, verb."""
    found: dict[str, int] = {}
    for key, value in metrics.items():
        if key[0] == "kubetune_rest_client_requests_total":
            _, code, resource, verb = key
            name = f"{verb} {resource}" + ("" if code.startswith("2") else f" ({code})")
            found[name] = found.get(name, 0) + int(value)
    return dict(sorted(found.items()))


def _placed(obj: Object) -> Object:
    copy: Object = json.loads(json.dumps(obj))
    copy["metadata"]["namespace"] = NAMESPACE
    return copy
