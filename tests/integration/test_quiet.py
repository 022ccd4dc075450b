"""What is written, counted between the operator and the API server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator, instead
from tests.support.proxy import Proxy
from tests.support.trainers import STEPS_PER_SECOND, Trainers, address

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
    before = proxy.writes(kube.namespace)
    # A pod that does not answer is looked at, for it may be gone.
    passes = proxy.passes(kube.namespace)
    wait_for(lambda: proxy.passes(kube.namespace) > passes, 10, lambda: "a silent pod is not looked at")
    assert proxy.writes(kube.namespace) == before
    kubelet.succeed(pod, train_summary())
    kube.wait_phase("finetunejob", "demo", "Succeeded")


POLLED_SECONDS = 6.0


@pytest.mark.law("L14")
def test_polling_asks_nothing_of_the_api_server_and_metrics_move(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy, record_property: Callable[[str, object], None]
) -> None:
    with Trainers(1), instead(operator, poll_seconds="0.2", progress_write_seconds="600") as quiet:
        kube.create("finetunejob", finetunejob())
        kubelet.run(kubelet.pod_of("demo-train"), address(0))
        kube.wait_condition("finetunejob", "demo", "Succeeded", "Training")
        time.sleep(SETTLE_SECONDS)
        before, steps = proxy.requests(kube.namespace), _series(quiet, kube.namespace)
        time.sleep(POLLED_SECONDS)
        after, later = proxy.requests(kube.namespace), _series(quiet, kube.namespace)
        assert after == before, "no GET, no LIST, no write"
        moved = later["kubetune_finetunejob_step"] - steps["kubetune_finetunejob_step"]
        assert moved >= STEPS_PER_SECOND * (POLLED_SECONDS - 2)
        assert kube.status("finetunejob", "demo")["progress"]["step"] < later["kubetune_finetunejob_step"]
        record_property(
            "point",
            f"a running job is polled for {POLLED_SECONDS:.0f} s: no API request, its step moves by {moved:.0f}",
        )


@pytest.mark.law("L14")
def test_progress_alone_is_written_by_reads_from_the_watch_cache(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy
) -> None:
    """Three reads and a write each, none of which goes to etcd but the write."""
    with Trainers(1), instead(operator, poll_seconds="0.2", progress_write_seconds="1"):
        kube.create("finetunejob", finetunejob())
        kubelet.run(kubelet.pod_of("demo-train"), address(0))
        kube.wait_condition("finetunejob", "demo", "Succeeded", "Training")
        time.sleep(SETTLE_SECONDS)
        assert any(_passes_in_vain(kube, proxy) <= 0 for _ in range(QUIET_WINDOWS)), "no pass is in vain"


QUIET_WINDOWS = 3
"""The controller-manager and the kubelet may have news in one of them, and news is looked at."""


def _passes_in_vain(kube: Kube, proxy: Proxy) -> int:
    """Reads over POLLED_SECONDS beyond one of each kind for each write; every read comes from the watch cache."""
    before, live = proxy.requests(kube.namespace), proxy.live_reads(kube.namespace)
    time.sleep(POLLED_SECONDS)
    spent = proxy.requests(kube.namespace) - before
    writes = spent["PATCH", "finetunejobs/status"]
    assert 2 <= writes <= POLLED_SECONDS + 1
    reads = {("GET", "finetunejobs"), ("GET", "jobs"), ("GET", "pods")}
    assert set(spent) == {("PATCH", "finetunejobs/status"), *reads}
    assert proxy.live_reads(kube.namespace) == live
    # A pass may be under way when the counting begins, and when it ends.
    return max(spent[read] for read in reads) - writes - 2


def test_what_begins_suspended_costs_one_status(kube: Kube, operator: Operator, proxy: Proxy) -> None:
    """The controller-manager's condition Suspended, which follows, is no news."""
    assert operator.is_ready()
    kube.create("finetunejob", finetunejob(suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")

    def is_told() -> bool:
        conditions = kube.must("job", "demo-train").get("status", {}).get("conditions", ())
        return any(one["type"] == "Suspended" for one in conditions)

    wait_for(is_told, 10, lambda: "the Job controller does not say Suspended")
    time.sleep(SETTLE_SECONDS)
    assert proxy.writes(kube.namespace)["PATCH", "finetunejobs/status"] == 1


def _series(operator: Operator, namespace: str) -> dict[str, float]:
    """Name -> value of the series about the FineTuneJob in that namespace."""
    return {key[0]: value for key, value in operator.metrics().items() if key[1:] == ("demo", namespace)}


def test_phases_are_counted(kube: Kube, operator: Operator) -> None:
    kube.create("finetunejob", finetunejob(suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")

    def counted() -> bool:
        return operator.metrics().get(("kubetune_finetunejobs", "Suspended"), 0) >= 1

    wait_for(counted, 10, lambda: str(operator.metrics()))
