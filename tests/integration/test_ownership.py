"""The operator touches what is its own, keeps that alive, and leaves everything else alone."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import EVALUATION, finetunejob, store_secret, train_summary

pytestmark = pytest.mark.usefixtures("operator")


def test_a_foreign_job_is_left_alone(kube: Kube) -> None:
    container = {"name": "main", "image": "busybox"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    kube.create("job", {"metadata": {"name": "demo-train"}, "spec": {"suspend": True, "template": template}})
    wait_for(lambda: kube.must("job", "demo-train").get("status", {}).get("conditions"), 15, lambda: "not suspended")
    before = kube.must("job", "demo-train")
    kube.create("finetunejob", finetunejob())
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "NameConflict")
    assert "does not belong to this FineTuneJob" in condition["message"]
    time.sleep(0.5)
    assert kube.must("job", "demo-train") == before


def test_a_foreign_evaluation_is_left_alone_and_waited_for(kube: Kube, kubelet: Kubelet) -> None:
    foreign = {
        "apiVersion": "kubetune.io/v1alpha1",
        "kind": "Evaluation",
        "metadata": {"name": "demo"},
        "spec": {"candidate": {"fineTuneJobRef": {"name": "other"}}, **EVALUATION},
    }
    kube.create("evaluation", foreign)
    kube.create("finetunejob", finetunejob(evaluation=EVALUATION))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert "evaluationRef" not in status
    assert "does not belong to this FineTuneJob" in kube.condition("finetunejob", "demo", "Succeeded")["message"]
    assert kube.must("evaluation", "demo")["spec"]["candidate"]["fineTuneJobRef"]["name"] == "other"
    kube.delete("evaluation", "demo")
    kube.patch("finetunejob", "demo", {"metadata": {"labels": {"touched": "yes"}}})
    wait_for(lambda: kube.status("finetunejob", "demo").get("evaluationRef"), 15, lambda: "no evaluation")
    assert kube.must("evaluation", "demo")["spec"]["candidate"]["fineTuneJobRef"]["name"] == "demo"


def test_a_deleted_job_comes_back(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    first = kube.wait_exists("job", "demo-train")
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.delete("job", "demo-train")

    def is_new() -> bool:
        job = kube.get("job", "demo-train")
        return job is not None and job["metadata"]["uid"] != first["metadata"]["uid"]

    wait_for(is_new, 15, lambda: "the Job did not come back")
    kube.wait_phase("finetunejob", "demo", "Pending")


def test_a_deleted_pod_is_replaced_by_the_job(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.delete("pod", pod)
    kubelet.fail(pod, 75)
    kubelet.finish_deletion(pod)
    second = kubelet.pod_of("demo-train", seconds=30)
    assert second != pod
    kubelet.run(second)
    kube.wait_phase("finetunejob", "demo", "Running")


def test_deleting_mid_run_leaves_nothing(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.delete("finetunejob", "demo")
    kube.wait_gone("finetunejob", "demo")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 30, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)
    kube.wait_gone("job", "demo-train")
    kube.wait_gone("pod", pod)


def test_one_name_in_two_namespaces(kube: Kube, kubelet: Kubelet, admin: Api) -> None:
    other = Kube(admin, f"other-{uuid4().hex[:8]}")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.namespace}}
    admin.request("POST", "/api/v1/namespaces", body)
    other.create("secret", store_secret())
    for place in (kube, other):
        place.create("finetunejob", finetunejob())
    pods = {place.namespace: Kubelet(place).pod_of("demo-train") for place in (kube, other)}
    kubelet.run(pods[kube.namespace])
    kube.wait_phase("finetunejob", "demo", "Running")
    assert other.status("finetunejob", "demo")["phase"] == "Pending"
    uids = {place.must("finetunejob", "demo")["metadata"]["uid"] for place in (kube, other)}
    owners = {place.must("job", "demo-train")["metadata"]["ownerReferences"][0]["uid"] for place in (kube, other)}
    assert owners == uids
    admin.request("DELETE", f"/api/v1/namespaces/{other.namespace}")
