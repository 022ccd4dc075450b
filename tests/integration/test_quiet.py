"""What is written, counted between the operator and the API server."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator
from tests.support.proxy import Proxy

SETTLE_SECONDS = 1.5


@pytest.mark.parametrize("fit", ["Require", "Skip"])
def test_two_writes_for_a_new_object_and_none_for_a_look(
    kube: Kube, operator: Operator, proxy: Proxy, fit: str
) -> None:
    assert operator.is_ready()
    kube.create("finetunejob", finetunejob(preflight={"fit": fit}))
    kube.wait_phase("finetunejob", "demo", "Pending")
    time.sleep(SETTLE_SECONDS)
    assert proxy.writes(kube.namespace) == Counter({("POST", "jobs"): 1, ("PATCH", "finetunejobs/status"): 1})
    assert proxy.passes(kube.namespace) <= 1
    version = kube.must("finetunejob", "demo")["metadata"]["resourceVersion"]

    before, passes = proxy.writes(kube.namespace), proxy.passes(kube.namespace)
    kube.patch("finetunejob", "demo", {"metadata": {"labels": {"touched": "yes"}}})

    wait_for(lambda: proxy.passes(kube.namespace) > passes, 10, lambda: "the change was not looked at")
    time.sleep(SETTLE_SECONDS)
    assert proxy.writes(kube.namespace) == before
    assert kube.must("finetunejob", "demo")["metadata"]["resourceVersion"] != version


def test_a_passed_preflight_costs_a_job_a_status_and_an_event(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy
) -> None:
    assert operator.is_ready()
    kube.create("finetunejob", finetunejob(preflight={}))
    pod = kubelet.pod_of("demo-preflight")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Preflight")
    time.sleep(SETTLE_SECONDS)
    before = proxy.writes(kube.namespace)
    kubelet.succeed(pod, preflight_summary())
    kube.wait_exists("job", "demo-train")
    time.sleep(SETTLE_SECONDS)
    spent = proxy.writes(kube.namespace) - before
    assert spent == Counter({("POST", "jobs"): 1, ("PATCH", "finetunejobs/status"): 1, ("POST", "events"): 1})


def test_a_running_job_without_news_is_not_written(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy
) -> None:
    assert operator.is_ready()
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(SETTLE_SECONDS)
    before, passes = proxy.writes(kube.namespace), proxy.passes(kube.namespace)
    time.sleep(SETTLE_SECONDS)
    assert proxy.passes(kube.namespace) > passes, "running jobs are polled"
    assert proxy.writes(kube.namespace) == before
    kubelet.succeed(pod, train_summary())
    kube.wait_phase("finetunejob", "demo", "Succeeded")


def test_phases_are_counted(kube: Kube, operator: Operator) -> None:
    kube.create("finetunejob", finetunejob(suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")

    def counted() -> bool:
        return operator.metrics().get(("kubetune_finetunejobs", "Suspended"), 0) >= 1

    wait_for(counted, 10, lambda: str(operator.metrics()))
