"""Statuses at a glance, against a real API server and with the kubectl that people have."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.chart.helm import tool
from tests.cluster import Cluster
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary, finetunejob, train_summary
from tests.support.operator import Operator

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def kubectl(cluster: Cluster, kube: Kube) -> Any:
    """Runs kubectl in the test's namespace; its exit status and what it printed."""

    def run(*words: str) -> tuple[int, str]:
        argv = [tool("kubectl"), "--kubeconfig", str(cluster.kubeconfig), "-n", kube.namespace, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def fail(kube: Kube, kubelet: Kubelet, **spec: Any) -> None:
    kube.create("finetunejob", finetunejob(**spec))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.fail(pod, 65, failure_summary(65, "MalformedRow", "dataset train.jsonl line 17: no prompt."))
    kube.wait_phase("finetunejob", "demo", "Failed")


@pytest.mark.walk("W8")
def test_kubectl_wait_ends_on_a_failed_job(kube: Kube, kubelet: Kubelet, kubectl: Any) -> None:
    fail(kube, kubelet)
    code, said = kubectl("wait", "--for=condition=Finished", "ftj/demo", "--timeout=20s")
    assert (code, "condition met" in said) == (0, True), said
    path = '{.status.conditions[?(@.type=="Finished")].message}'
    assert "MalformedRow: dataset train.jsonl line 17" in kubectl("get", "ftj", "demo", "-o", f"jsonpath={path}")[1]


@pytest.mark.walk("C2")
@pytest.mark.walk("S5")
def test_the_reason_stands_in_every_kinds_columns(kube: Kube, kubelet: Kubelet, kubectl: Any) -> None:
    fail(kube, kubelet)
    metadata = {"metadata": {"name": "demo"}}
    evaluation = {"candidate": {"fineTuneJobRef": {"name": "demo"}}, "dataset": {"uri": "s3://data/test.jsonl"}}
    deployment = {"model": {"fineTuneJobRef": {"name": "demo"}}}
    for kind, spec in (("Evaluation", evaluation), ("ModelDeployment", deployment)):
        whole = {"apiVersion": "kubetune.io/v1alpha1", "kind": kind, **metadata, "spec": spec}
        kube.create(kind.lower(), whole)
        kube.wait_phase(kind.lower(), "demo", "Failed")
    for kind, columns, reason in (
        ("ftj", "NAME PHASE PROGRESS LOSS ETA REASON AGE", "MalformedRow"),
        ("evl", "NAME PHASE VERDICT METRIC DELTA REASON AGE", "FineTuneJobFailed"),
        ("mdep", "NAME PHASE READY VERSION REASON URL AGE", "FineTuneJobFailed"),
    ):
        code, said = kubectl("get", kind)
        header, row = said.splitlines()
        assert (code, header.split()) == (0, columns.split())
        assert row.split()[1] == "Failed"
        assert reason in row
    _, wide = kubectl("get", "ftj", "-o", "wide")
    assert {"ATTEMPTS", "GPU", "COST", "FIT"} <= set(wide.splitlines()[0].split())


@pytest.mark.law("L2", "F8")
@pytest.mark.walk("C7")
def test_suspending_what_has_ended_is_answered(kube: Kube, kubelet: Kubelet) -> None:
    fail(kube, kubelet)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})

    def told() -> list[str]:
        return [one["message"] for one in kube.list("event") if one["reason"] == "AlreadyFinished"]

    wait_for(told, 10, lambda: "no Event tells that suspend has no effect")
    assert "suspend: true has no effect" in told()[0]
    assert kube.status("finetunejob", "demo")["phase"] == "Failed"


@pytest.mark.walk("W6")
def test_out_of_main_memory_twice_is_the_end(kube: Kube, kubelet: Kubelet, record_property: Any) -> None:
    """The Job controller itself ends it, as the operator has lowered what it may try."""
    kube.create("finetunejob", finetunejob(backoffLimit=3))
    for _ in range(2):
        pod = kubelet.pod_of("demo-train", seconds=60)
        kubelet.run(pod)
        kube.wait_phase("finetunejob", "demo", "Running")
        kubelet.fail(pod, 137, "", "OOMKilled")
    status = kube.wait_phase("finetunejob", "demo", "Failed", seconds=60)
    assert (status["attempts"], status["failure"]["reason"]) == (2, "OutOfMemory")
    summary = kube.condition("finetunejob", "demo", "Succeeded")
    assert (summary["reason"], "spec.resources.memory" in summary["message"]) == ("OutOfMemory", True)
    record_property("point", "out of main memory with backoffLimit 3: two attempts, then Failed with OutOfMemory")


@pytest.mark.walk("W6")
def test_the_tries_are_lowered_by_an_operator_that_saw_neither_death(
    kube: Kube, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=3))
    pod = kubelet.pod_of("demo-train")
    operator.kill()
    try:
        kubelet.run(pod)
        kubelet.fail(pod, 137, "", "OOMKilled")
        second = kubelet.pod_of("demo-train", seconds=60)
        kubelet.run(second)
        kubelet.fail(second, 137, "", "OOMKilled")
    finally:
        operator.start()
        operator.wait_ready()
    status = kube.wait_phase("finetunejob", "demo", "Failed", seconds=60)
    assert status["failure"]["reason"] == "OutOfMemory"


@pytest.mark.walk("W7")
def test_success_after_a_failure_shows_no_failure(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=1))
    first = kubelet.pod_of("demo-train")
    kubelet.run(first)
    kubelet.fail(first, 69, failure_summary(69, "StoreUnavailable", "no answer from the store"))
    second = kubelet.pod_of("demo-train", seconds=30)
    kubelet.cannot_schedule(second, "0/1 nodes are available: 1 Insufficient cpu.")
    waits = kube.wait_condition("finetunejob", "demo", "Scheduled", "Unschedulable")
    assert "Insufficient cpu" in waits["message"]
    summary = kube.condition("finetunejob", "demo", "Succeeded")
    assert summary["reason"] == "Retrying", "that it is the second try is not lost behind what it waits for"
    assert "StoreUnavailable: no answer from the store" in summary["message"]
    assert kube.status("finetunejob", "demo")["failure"]["reason"] == "StoreUnavailable"
    kubelet.run(second)
    kubelet.succeed(second, train_summary())
    assert "failure" not in kube.wait_phase("finetunejob", "demo", "Succeeded")
