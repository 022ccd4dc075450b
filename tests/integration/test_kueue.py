"""Jobs in a queue of Kueue's, against a real API server and the real Kueue (tests.support.kueue)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.kueue import VERSION, Kueue
from tests.support.kueue_queue import LABEL, POOL, Queue
from tests.support.objects import finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator
from tests.support.points import Record

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.training]

JOB = "demo-train"
TEAM = "team-a"


@pytest.fixture(scope="module")
def kueue(cluster: Cluster, admin: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    with Kueue(cluster, admin, tmp_path_factory.mktemp("kueue")) as running:
        yield running


@pytest.fixture
def queue(kube: Kube, kueue: Kueue) -> Iterator[Queue]:
    """The queue ``team-a``, without quota."""
    with Queue(kube, TEAM) as made:
        yield made


def test_kueue_decides_when_it_runs(kube: Kube, kubelet: Kubelet, queue: Queue, record_property: Record) -> None:
    kube.create("finetunejob", finetunejob(queueName=TEAM, preflight={}, activeDeadlineSeconds=1000))
    checks = kubelet.pod_of("demo-preflight")
    kubelet.run(checks)
    kubelet.succeed(checks, preflight_summary())
    job = kube.wait_exists("job", JOB)
    assert job["metadata"]["labels"][LABEL] == TEAM
    assert job["spec"]["suspend"] is True
    status = kube.wait_phase("finetunejob", "demo", "Queued")
    assert f"queue {TEAM}" in status["queue"]["message"]
    workload = wait_for(lambda: queue.workload(JOB), 10, lambda: "Kueue takes no notice of the Job")
    time.sleep(1)
    assert kube.must("job", JOB)["spec"]["suspend"] is True, "nobody but Kueue starts it"

    queue.give(cpus=1)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    assert "queue" not in kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(2)
    queue.evict()
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

    queue.admit()
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    assert kube.must("job", JOB)["spec"]["activeDeadlineSeconds"] == left, "counted once"
    kubelet.succeed(pod, train_summary())
    assert kube.wait_phase("finetunejob", "demo", "Succeeded")["attempts"] == 2
    assert queue.starts(JOB) == 2
    same = wait_for(lambda: queue.workload(JOB), 10, lambda: "its Workload is gone")
    assert same["metadata"]["uid"] == workload["metadata"]["uid"], "what KubeTune writes is no other workload to Kueue"
    record_property(
        "point", f"Kueue {VERSION}: queued, admitted, evicted, admitted again, done: 1 Workload; its time counted once"
    )


def test_the_nodes_that_kueue_chose_are_left_alone(
    kube: Kube, kubelet: Kubelet, queue: Queue, operator: Operator, record_property: Record
) -> None:
    own = {"disk": "fast"}
    queue.give(cpus=1)
    kube.create("finetunejob", finetunejob(queueName=TEAM, nodeSelector=own, activeDeadlineSeconds=1000))
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    assert _selector(kube.must("pod", pod)) == own | POOL, "its nodes are those of the flavor"
    started = kube.must("job", JOB)
    operator.stop()
    operator.start()
    operator.wait_ready()
    time.sleep(3)
    assert _selector(kube.must("job", JOB)["spec"]["template"]) == own | POOL
    assert kube.must("job", JOB)["metadata"]["uid"] == started["metadata"]["uid"]

    queue.evict()
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)
    wait_for(
        lambda: _selector(kube.must("job", JOB)["spec"]["template"]) == own,
        15,
        lambda: f"Kueue does not give its choice up: {kube.must('job', JOB)}",
    )
    queue.admit()
    pod = kubelet.pod_of(JOB)
    assert _selector(kube.must("pod", pod)) == own | POOL
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    kube.wait_phase("finetunejob", "demo", "Succeeded")
    record_property("point", f"Kueue {VERSION}: the flavor's node labels, given and taken back, beside the job's own")


def test_its_user_stops_it_although_kueue_would_have_it_run(
    kube: Kube, kubelet: Kubelet, queue: Queue, record_property: Record
) -> None:
    queue.give(cpus=1)
    kube.create("finetunejob", finetunejob(queueName=TEAM, activeDeadlineSeconds=1000))
    first = kube.wait_exists("job", JOB)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(2)
    started = queue.starts(JOB)
    assert started == 1
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", "demo", "Suspending")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 30, lambda: "the pod is not stopped")
    assert "deletionTimestamp" in kube.must("job", JOB)["metadata"], "it stays until its pod is gone"
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    time.sleep(1)
    assert kube.must("job", JOB)["metadata"]["uid"] == first["metadata"]["uid"], "no second one beside its pod"
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kubelet.finish_deletion(pod)
    kube.wait_gone("job", JOB)
    assert not queue.workloads(), "Kueue would take it for that of the next Job of this name, and start that at once"
    time.sleep(2)
    assert kube.get("job", JOB) is None
    assert queue.starts(JOB) == started, "there was nothing to fight about"
    status = kube.wait_phase("finetunejob", "demo", "Suspended")
    assert 1 <= status["activeSeconds"] <= 30

    queue.hold()
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    second = kube.wait_exists("job", JOB)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert (second["spec"]["suspend"], second["spec"]["activeDeadlineSeconds"]) == (
        True,
        1000 - status["activeSeconds"],
    )
    kube.wait_phase("finetunejob", "demo", "Queued")
    queue.admit()
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    assert kube.wait_phase("finetunejob", "demo", "Succeeded")["attempts"] == 2
    record_property("point", f"Kueue {VERSION}: suspended by its user while admitted: stopped for good, queued anew")


def test_one_place_two_trainings(kube: Kube, kubelet: Kubelet, queue: Queue, record_property: Record) -> None:
    queue.give(cpus=1)
    kube.create("finetunejob", finetunejob("first", queueName=TEAM))
    running = kubelet.pod_of("first-train")
    kubelet.run(running)
    kube.create("finetunejob", finetunejob("second", queueName=TEAM))
    kube.wait_phase("finetunejob", "second", "Queued")
    time.sleep(1)
    kube.wait_phase("finetunejob", "second", "Queued")
    kubelet.succeed(running, train_summary())
    pod = kubelet.pod_of("second-train")
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    for name in ("first", "second"):
        kube.wait_phase("finetunejob", name, "Succeeded")
    record_property("point", f"Kueue {VERSION}: two trainings, quota for one: the second ran when the first was done")


def test_a_more_urgent_job_takes_its_place_and_gives_it_back(
    kube: Kube, kubelet: Kubelet, queue: Queue, record_property: Record
) -> None:
    queue.give(cpus=1)
    kube.create("finetunejob", finetunejob(queueName=TEAM, activeDeadlineSeconds=1000))
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    time.sleep(2)
    kube.create("job", queue.urgent("rival"))
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kube.wait_phase("finetunejob", "demo", "Queued")
    # Kueue counts a pod that is ending as gone.
    rival = kubelet.pod_of("rival")
    kubelet.run(rival)
    assert kube.must("job", JOB)["spec"]["suspend"] is True
    kubelet.succeed(rival, "")
    wait_for(lambda: not kube.must("job", JOB)["spec"]["suspend"], 15, lambda: "its place is not given back")
    time.sleep(2)
    assert _pods_of(kube, JOB) == [pod], "no second pod beside one that still saves"
    kubelet.finish_deletion(pod)
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    left = kube.must("job", JOB)["spec"]["activeDeadlineSeconds"]
    assert 980 <= left < 1000, "its first time counts, the other's does not"
    kubelet.succeed(pod, train_summary())
    assert kube.wait_phase("finetunejob", "demo", "Succeeded")["attempts"] == 2
    record_property(
        "point", f"Kueue {VERSION}: preempted by a more urgent Job and back after it, never two pods at once"
    )


def test_a_queue_may_come_later_and_a_job_go_from_it(kube: Kube, kubelet: Kubelet, kueue: Kueue) -> None:
    kube.create("finetunejob", finetunejob(queueName=TEAM))
    status = kube.wait_phase("finetunejob", "demo", "Queued")
    assert "have a LocalQueue of that name" in status["queue"]["message"]
    with Queue(kube, TEAM, cpus=1) as queue:
        kubelet.run(kubelet.pod_of(JOB))
        kube.wait_phase("finetunejob", "demo", "Running")
        kube.create("finetunejob", finetunejob("second", queueName=TEAM))
        wait_for(lambda: len(queue.workloads()) == 2, 10, lambda: "Kueue takes no notice of the second Job")
        kube.wait_phase("finetunejob", "second", "Queued")
        kube.delete("finetunejob", "second")
        kube.wait_gone("finetunejob", "second")
        kube.wait_gone("job", "second-train")
        wait_for(lambda: len(queue.workloads()) == 1, 15, lambda: f"a Workload stays: {queue.workloads()}")


def test_created_suspended_it_is_not_queued(kube: Kube, queue: Queue) -> None:
    queue.give(cpus=1)
    kube.create("finetunejob", finetunejob(queueName=TEAM, suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")
    time.sleep(1)
    assert kube.get("job", JOB) is None
    queue.hold()
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    kube.wait_exists("job", JOB)
    kube.wait_phase("finetunejob", "demo", "Queued")


def _pods_of(kube: Kube, job: str) -> list[str]:
    pods = [pod["metadata"] for pod in kube.list("pod")]
    return [meta["name"] for meta in pods if meta.get("labels", {}).get("batch.kubernetes.io/job-name") == job]


def _selector(template: dict[str, Any]) -> dict[str, str]:
    """Of a pod or a template of one."""
    found: dict[str, str] = template["spec"].get("nodeSelector", {})
    return found
