"""Attempts, time to stop, and advice told once, against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import finetunejob, train_summary
from tests.support.operator import Operator
from tests.support.points import Record
from tests.support.trainer import answering

pytestmark = pytest.mark.usefixtures("operator")

Object = dict[str, Any]
JOB = "demo-train"
POD_IP = f"127.9.{os.getpid() % 250}.7"


def run(kube: Kube, kubelet: Kubelet) -> str:
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod, POD_IP)
    kube.wait_phase("finetunejob", "demo", "Running")
    return pod


def end(kube: Kube, kubelet: Kubelet, pod: str, code: int) -> None:
    """The container ends after the pod was told to, and the kubelet has nothing more to do."""
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.fail(pod, code)
    if kube.get("pod", pod):
        kubelet.finish_deletion(pod)
    kube.wait_gone("pod", pod)


def evict(kube: Kube, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": kube.namespace}}
    kube.api.request("POST", kube.path("pod", pod, "eviction"), eviction)


def test_every_pod_is_an_attempt(kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    """Evicted, preempted and suspended ones, of which neither the Job nor the list of pods keeps a record."""
    kube.create("finetunejob", finetunejob(backoffLimit=0))
    evicted = run(kube, kubelet)
    evict(kube, evicted)
    end(kube, kubelet, evicted, 137)
    preempted = run(kube, kubelet)
    kubelet.fail(preempted, 75)
    suspended = run(kube, kubelet)
    wait_for(lambda: kube.status("finetunejob", "demo")["attempts"] == 3, 10, lambda: str(kube.list("finetunejob")))
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    end(kube, kubelet, suspended, 75)
    kube.wait_phase("finetunejob", "demo", "Suspended")
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    last = run(kube, kubelet)
    kubelet.succeed(last, train_summary())
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert status["attempts"] == 4
    assert status["pods"][-1] == last
    record_property(
        "point", "attempts: one pod evicted, one preempted, one suspended, one to the end: 4 counted, none failed"
    )


@pytest.mark.parametrize("code", [75, 137], ids=["saved", "killed all the same"])
def test_a_pod_gets_the_time_it_has_measured_to_need(
    kube: Kube, kubelet: Kubelet, record_property: Record, code: int
) -> None:
    with answering(POD_IP, stepSeconds=20.0, checkpointSeconds=200.0):
        kube.create("finetunejob", finetunejob(backoffLimit=0))
        pod = run(kube, kubelet)
        assert kube.must("pod", pod)["spec"]["terminationGracePeriodSeconds"] == 120
        kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
        kube.wait_phase("finetunejob", "demo", "Suspending")
        wait_for(lambda: kube.must("job", JOB)["spec"]["suspend"], 10, lambda: "the Job is not suspended")
        time.sleep(2)
        assert kube.must("pod", pod)["metadata"]["deletionGracePeriodSeconds"] == 360
        end(kube, kubelet, pod, code)
    time.sleep(1)
    status = kube.status("finetunejob", "demo")
    assert (status["phase"], status["attempts"], "failure" in status) == ("Suspended", 1, False)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    run(kube, kubelet)
    record_property(
        "point", f"grace: pod of 120 s that needs 360 s got 360 s when suspended; ended with {code}, resumed"
    )


def test_advice_is_told_once_also_after_a_restart(kube: Kube, kubelet: Kubelet, operator: Operator) -> None:
    def told() -> list[str]:
        return sorted(event["reason"] for event in kube.list("event") if event["reason"] in {"FlatLoss", "SlowInput"})

    flat = {"reason": "FlatLoss", "message": "The loss does not fall."}
    with answering(POD_IP, suggestions=[flat]) as answer:
        kube.create("finetunejob", finetunejob())
        run(kube, kubelet)
        wait_for(lambda: told() == ["FlatLoss"], 10, lambda: str(told()))
        operator.kill()
        operator.start()
        operator.wait_ready()
        answer["suggestions"] = [flat, {"reason": "SlowInput", "message": "A fifth of the time is spent waiting."}]
        wait_for(lambda: told() == ["FlatLoss", "SlowInput"], 15, lambda: str(told()))
        time.sleep(2)
    assert told() == ["FlatLoss", "SlowInput"]
    reasons = [one["reason"] for one in kube.status("finetunejob", "demo")["suggestions"]]
    assert reasons == ["FlatLoss", "SlowInput"]


def test_series_are_there_while_it_runs(kube: Kube, kubelet: Kubelet, operator: Operator) -> None:
    def shown(member: str) -> float | None:
        return operator.metrics().get((f"kubetune_finetunejob_{member}", "demo", kube.namespace))

    figures = {"reservedVramBytes": 8 * 1024**3, "gpuUtilization": 0.97, "tokens": 12345, "lastCheckpointAt": 1.5e9}
    with answering(POD_IP, **figures):
        kube.create("finetunejob", finetunejob())
        pod = run(kube, kubelet)
        wait_for(lambda: shown("tokens_total") == 12345, 10, lambda: "no series")
        assert (shown("reserved_vram_bytes"), shown("gpu_utilization")) == (8 * 1024**3, 0.97)
        assert shown("last_checkpoint_timestamp_seconds") == 1.5e9
        kubelet.succeed(pod, train_summary())
        kube.wait_phase("finetunejob", "demo", "Succeeded")
    left = [key for key in operator.metrics() if "demo" in key and kube.namespace in key]
    assert left == []
