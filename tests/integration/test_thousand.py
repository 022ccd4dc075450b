"""A thousand FineTuneJobs at once."""

from __future__ import annotations

from collections import Counter

from tests.cluster import Cluster
from tests.support.bulk import create_all
from tests.support.kube import Kube, wait_for
from tests.support.objects import finetunejob
from tests.support.operator import Operator
from tests.support.proxy import Proxy

COUNT = 1000


def test_a_thousand(kube: Kube, operator: Operator, proxy: Proxy, cluster: Cluster) -> None:
    assert operator.is_ready()
    # Suspended Jobs get no pods, so that this is about the operator and not about the Job controller.
    objects = [finetunejob(f"job-{index}", suspend=True) for index in range(COUNT)]
    for obj in objects:
        obj["metadata"]["namespace"] = kube.namespace
    create_all(cluster.kubeconfig, objects)

    def done() -> bool:
        found = kube.list("finetunejob")
        return sum(1 for obj in found if obj.get("status", {}).get("phase")) == COUNT

    wait_for(done, 120, lambda: f"{len(kube.list('job'))} of {COUNT} Jobs exist", interval=1)
    assert len(kube.list("job")) == COUNT
    writes = proxy.writes(kube.namespace)
    assert writes["POST", "jobs"] == COUNT
    assert COUNT <= writes["PATCH", "finetunejobs/status"] <= 2 * COUNT + 20
    assert set(writes) <= {("POST", "jobs"), ("PATCH", "finetunejobs/status"), ("POST", "events")}, Counter(writes)
    assert proxy.passes(kube.namespace) <= 2.5 * COUNT
