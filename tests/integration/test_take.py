"""`kubectl tune take` against a real API server: its Job is accepted, becomes a pod, and is gone afterwards."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manifests.plugin import kubectl_tune as tune
from tests.cluster import Cluster
from tests.support.kube import MERGE, Kube, Kubelet, wait_for
from tests.support.objects import finetunejob
from tests.support.workloads import ARTIFACT, finish_training

pytestmark = pytest.mark.usefixtures("operator")

CACHE = Path(os.environ.get("KUBETUNE_CACHE", Path.home() / ".cache" / "kubetune"))
RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def taking(kube: Kube) -> list[str]:
    return [job["metadata"]["name"] for job in kube.list("job") if job["metadata"]["name"].startswith("kubetune-take-")]


def play(kube: Kube, kubelet: Kubelet) -> str:
    """Starts the pod of the Job that appears; returns the pod's name."""
    (job,) = wait_for(lambda: taking(kube), 30, lambda: "no Job was made")
    pod = kubelet.pod_of(job)
    kubelet.run(pod)
    kubelet.write(pod, conditions=[{"type": "Ready", "status": "True"}])
    return pod


@pytest.mark.walk("C20")
def test_the_job_that_reads_is_made_after_the_one_that_wrote_and_is_removed(
    kube: Kube, kubelet: Kubelet, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    kube.create("finetunejob", finetunejob())
    finish_training(kube, kubelet)
    kube.api.request("PATCH", f"/api/v1/namespaces/{kube.namespace}", RESTRICTED, MERGE)
    before = kube.status("finetunejob", "demo")
    kubectl = tune.Kubectl([f"--kubeconfig={cluster.kubeconfig}", f"--namespace={kube.namespace}"])
    obj = kubectl.get("finetunejobs.kubetune.io", "demo")
    assert tune.folder_of(obj, None).uri == ARTIFACT

    with ThreadPoolExecutor(1) as other:
        started = other.submit(play, kube, kubelet)
        with tune.reading(kubectl, obj, None):
            pod = kube.must("pod", started.result())
            (container,) = pod["spec"]["containers"]
            written = kube.must("job", "demo-train")["spec"]["template"]["spec"]["containers"][0]
            assert container["image"] == written["image"]
            assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= {variable["name"] for variable in container["env"]}
            assert all("value" not in variable for variable in container["env"] if "AWS" in variable["name"])
    wait_for(lambda: not taking(kube), 30, lambda: "the Job is still there")
    assert kube.status("finetunejob", "demo") == before
