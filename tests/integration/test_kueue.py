"""Jobs in a Kueue queue, against a real API server and a stand-in for Kueue (tests.support.kueue)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.kueue import KueueStandIn
from tests.support.objects import finetunejob, preflight_summary, train_summary
from tests.support.points import Record

pytestmark = pytest.mark.usefixtures("operator")

JOB = "demo-train"


@pytest.fixture
def kueue(kube: Kube) -> Iterator[KueueStandIn]:
    with KueueStandIn(kube) as running:
        yield running


def test_kueue_decides_when_it_runs(kube: Kube, kubelet: Kubelet, kueue: KueueStandIn, record_property: Record) -> None:
    kube.create("finetunejob", finetunejob(queueName="team-a", preflight={}, activeDeadlineSeconds=1000))
    checks = kubelet.pod_of("demo-preflight")
    kubelet.run(checks)
    kubelet.succeed(checks, preflight_summary())
    job = kube.wait_exists("job", JOB)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert job["spec"]["suspend"] is True
    status = kube.wait_phase("finetunejob", "demo", "Queued")
    assert "queue team-a" in status["queue"]["message"]
    time.sleep(1)
    assert kube.must("job", JOB)["spec"]["suspend"] is True, "nobody but Kueue starts it"

    kueue.admit(JOB)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    assert "queue" not in kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(2)
    kueue.evict(JOB)
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)
    kube.wait_phase("finetunejob", "demo", "Queued")
    wait_for(
        lambda: 990 <= kube.must("job", JOB)["spec"]["activeDeadlineSeconds"] < 1000,
        10,
        lambda: f"its time was not counted: {kube.must('job', JOB)}",
    )
    left = kube.must("job", JOB)["spec"]["activeDeadlineSeconds"]
    assert kube.must("job", JOB)["spec"]["suspend"] is True, "it is Kueue's to resume it"

    kueue.admit(JOB)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    assert kube.must("job", JOB)["spec"]["activeDeadlineSeconds"] == left, "counted once"
    kubelet.succeed(pod, train_summary())
    assert kube.wait_phase("finetunejob", "demo", "Succeeded")["attempts"] == 2
    record_property(
        "point",
        "Kueue (a stand-in that flips suspend): queued, admitted, evicted, admitted again, done; its time counted once",
    )


def test_its_user_stops_it_although_kueue_would_have_it_run(
    kube: Kube, kubelet: Kubelet, kueue: KueueStandIn, record_property: Record
) -> None:
    kube.create("finetunejob", finetunejob(queueName="team-a", activeDeadlineSeconds=1000))
    first = kube.wait_exists("job", JOB)
    kueue.admit(JOB)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(2)
    started = len(kueue.started)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", "demo", "Suspended")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 30, lambda: "the pod is not stopped")
    assert "deletionTimestamp" in kube.must("job", JOB)["metadata"], "it stays until its pod is gone"
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    time.sleep(1)
    assert kube.must("job", JOB)["metadata"]["uid"] == first["metadata"]["uid"], "no second one beside its pod"
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kubelet.finish_deletion(pod)
    kube.wait_gone("job", JOB)
    time.sleep(2)
    assert kube.get("job", JOB) is None
    assert len(kueue.started) == started, "there was nothing to fight about"
    status = kube.wait_phase("finetunejob", "demo", "Suspended")
    assert 1 <= status["activeSeconds"] <= 30

    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    second = kube.wait_exists("job", JOB)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert (second["spec"]["suspend"], second["spec"]["activeDeadlineSeconds"]) == (
        True,
        1000 - status["activeSeconds"],
    )
    kube.wait_phase("finetunejob", "demo", "Queued")
    kueue.admit(JOB)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    assert kube.wait_phase("finetunejob", "demo", "Succeeded")["attempts"] == 2
    record_property(
        "point", "Kueue (a stand-in): suspended by its user while admitted: stopped for good, queued anew on resume"
    )


def test_created_suspended_it_is_not_queued(kube: Kube, kueue: KueueStandIn) -> None:
    kube.create("finetunejob", finetunejob(queueName="team-a", suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")
    assert kube.get("job", JOB) is None
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    kube.wait_exists("job", JOB)
    kube.wait_phase("finetunejob", "demo", "Queued")
