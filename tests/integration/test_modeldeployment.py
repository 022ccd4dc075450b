"""A ModelDeployment against a real API server and Deployment controller; the tests write what a kubelet would."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary, finetunejob
from tests.support.points import Record
from tests.support.proxy import Proxy
from tests.support.workloads import ARTIFACT, ServerPods, evaluate, evaluation, model_deployment, remove, train

pytestmark = pytest.mark.usefixtures("operator")

SETTLE_SECONDS = 1.5
BY_URI = {"model": {"uri": "s3://models/tiny"}}
OTHER = "s3://kubetune/jobs/second/adapter"


@pytest.fixture
def pods(kube: Kube, kubelet: Kubelet) -> ServerPods:
    return ServerPods(kube, kubelet)


def _version(kube: Kube) -> str:
    labels = kube.must("deployment", "demo")["spec"]["template"]["metadata"]["labels"]
    version: str = labels["kubetune.io/version"]
    return version


def _serve(kube: Kube, pods: ServerPods, **spec: object) -> str:
    """A ModelDeployment that is Ready; the name of its pod."""
    kube.create("modeldeployment", model_deployment(**spec))
    kube.wait_exists("deployment", "demo")
    pod = pods.new()
    pods.answer(pod)
    kube.wait_phase("modeldeployment", "demo", "Ready")
    return pod


def test_serves_the_result_of_a_job_once_it_is_there(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    kube.create("modeldeployment", model_deployment())
    kube.wait_condition("modeldeployment", "demo", "Accepted", "FineTuneJobNotFound", seconds=5)
    assert kube.get("deployment", "demo") is None
    train(kube, kubelet)
    deployment = kube.wait_exists("deployment", "demo")
    service = kube.wait_exists("service", "demo")
    for child in (deployment, service):
        owner = child["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("ModelDeployment", "demo", True)
    assert service["spec"]["type"] == "ClusterIP"
    config = json.loads(deployment["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    published = f"manifest:{'ab' * 32}"
    assert config["model"] == {
        "name": "demo",
        "uri": "s3://models/tiny",
        "adapterUri": ARTIFACT,
        "contents": {"adapter": published},
    }

    pods.answer(pods.new())
    status = kube.wait_phase("modeldeployment", "demo", "Ready")
    assert status["endpoint"] == f"http://demo.{kube.namespace}.svc.cluster.local:8000/v1"
    assert (status["modelName"], status["baseModelName"], status["readyReplicas"]) == ("demo", "demo-base", 1)
    active = {"name": _version(kube), "uri": "s3://models/tiny", "adapterUri": ARTIFACT, "state": "Active"}
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert status["versions"] == [active | {"adapterContent": published, "image": image}]
    assert [condition["status"] for condition in status["conditions"]] == ["True"] * 4

    kube.delete("finetunejob", "demo")
    kube.wait_gone("finetunejob", "demo")
    time.sleep(SETTLE_SECONDS)
    assert kube.status("modeldeployment", "demo") == status


def test_only_go_opens_the_gate(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    train(kube, kubelet)
    gate = {"evaluationRef": {"name": "proof"}}
    kube.create("modeldeployment", model_deployment(requireVerdict=gate))
    kube.wait_condition("modeldeployment", "demo", "Admitted", "EvaluationNotFound", seconds=5)
    kube.create("evaluation", evaluation("proof"))
    kube.wait_condition("modeldeployment", "demo", "Admitted", "EvaluationNotFinished", seconds=5)
    remove(kube, kubelet, "evaluation", "proof", "proof-evaluate")
    evaluate(kube, kubelet, "NoGo", "proof")
    condition = kube.wait_condition("modeldeployment", "demo", "Admitted", "VerdictNoGo", seconds=5)
    assert "Train a better model" in condition["message"]
    assert kube.status("modeldeployment", "demo")["versions"][0]["state"] == "Rejected"
    assert (kube.get("deployment", "demo"), kube.get("service", "demo")) == (None, None)

    evaluate(kube, kubelet, "Go", "better")
    kube.patch("modeldeployment", "demo", {"spec": {"requireVerdict": {"evaluationRef": {"name": "better"}}}})
    kube.wait_condition("modeldeployment", "demo", "Admitted", "Admitted", seconds=5)
    kube.wait_exists("deployment", "demo")
    pods.answer(pods.new())
    kube.wait_phase("modeldeployment", "demo", "Ready")


def test_the_proof_must_be_about_this_model(kube: Kube, kubelet: Kubelet) -> None:
    train(kube, kubelet)
    train(kube, kubelet, "second", OTHER)
    evaluate(kube, kubelet, "Go", "proof", job="second")
    kube.create("modeldeployment", model_deployment(requireVerdict={"evaluationRef": {"name": "proof"}}))
    condition = kube.wait_condition("modeldeployment", "demo", "Admitted", "EvaluationOfAnotherModel", seconds=5)
    assert OTHER in condition["message"]
    assert kube.get("deployment", "demo") is None


def test_without_go_the_version_before_serves_on(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    train(kube, kubelet)
    evaluate(kube, kubelet, "Go")
    first = _serve(kube, pods, requireVerdict={"evaluationRef": {"name": "demo"}})
    before, version = kube.must("deployment", "demo"), _version(kube)
    train(kube, kubelet, "second", OTHER)
    wanted = {"fineTuneJobRef": {"name": "second"}}
    gate = {"evaluationRef": {"name": "second"}}
    kube.patch("modeldeployment", "demo", {"spec": {"model": wanted, "requireVerdict": gate}})
    kube.wait_condition("modeldeployment", "demo", "Admitted", "EvaluationNotFound", seconds=5)
    evaluate(kube, kubelet, "NoGo", "second", job="second")
    kube.wait_condition("modeldeployment", "demo", "Ready", "VerdictNoGo", seconds=5)
    assert kube.status("modeldeployment", "demo")["phase"] == "ServingPrevious"
    assert kube.must("deployment", "demo")["metadata"]["generation"] == before["metadata"]["generation"]
    status = kube.status("modeldeployment", "demo")
    assert [entry["state"] for entry in status["versions"]] == ["Active", "Rejected"]
    assert (status["versions"][0]["name"], status["readyReplicas"]) == (version, 1)

    kube.delete("deployment", "demo")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", first)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(first)
    kube.wait_exists("deployment", "demo")
    assert _version(kube) == version

    kube.patch("modeldeployment", "demo", {"spec": {"requireVerdict": None}})
    wait_for(lambda: _version(kube) != version, 10, lambda: "the new version is not rolled out")


def test_deleted_and_edited_children_are_put_right(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    pod = _serve(kube, pods, **BY_URI)
    kube.delete("service", "demo")
    kube.wait_exists("service", "demo")
    kube.patch("service", "demo", {"spec": {"type": "NodePort"}})
    wait_for(lambda: kube.must("service", "demo")["spec"]["type"] == "ClusterIP", 15, lambda: "open to the outside")
    kube.patch("deployment", "demo", {"spec": {"replicas": 3}})
    wait_for(lambda: kube.must("deployment", "demo")["spec"]["replicas"] == 1, 15, lambda: "still scaled by hand")
    kube.delete("deployment", "demo")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kube.wait_phase("modeldeployment", "demo", "Loading")
    kube.wait_exists("deployment", "demo")


def test_scale_subresource(kube: Kube, pods: ServerPods) -> None:
    first = _serve(kube, pods, **BY_URI)
    kube.patch("modeldeployment", "demo", {"spec": {"replicas": 2}}, tail="scale")
    second = pods.new(first)
    kube.wait_condition("modeldeployment", "demo", "Loaded", "Waiting")
    pods.answer(second)
    kube.wait_phase("modeldeployment", "demo", "Ready")
    scale = kube.api.request("GET", kube.path("modeldeployment", "demo", "scale"))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    kube.patch("modeldeployment", "demo", {"spec": {"replicas": 0}}, tail="scale")
    kube.wait_phase("modeldeployment", "demo", "Stopped")


@pytest.mark.law("F19")
def test_an_autoscaler_finds_pods_and_scale(kube: Kube, pods: ServerPods, record_property: Record) -> None:
    """Kubernetes' own controller reads scale and selector, and lacks only metrics, for which no server runs here."""
    _serve(kube, pods, **BY_URI)
    target = {"apiVersion": "kubetune.io/v1alpha1", "kind": "ModelDeployment", "name": "demo"}
    usage = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3, "metrics": [usage]}
    kube.create("autoscaler", {"metadata": {"name": "demo"}, "spec": spec})

    def told() -> dict[str, str]:
        conditions = kube.must("autoscaler", "demo").get("status", {}).get("conditions", [])
        return {one["type"]: one["reason"] for one in conditions}

    wait_for(lambda: kube.must("modeldeployment", "demo")["spec"]["replicas"] == 2, 60, lambda: f"not scaled: {told()}")
    wait_for(lambda: told().get("ScalingActive") == "FailedGetResourceMetric", 60, lambda: f"{told()}")
    assert told()["AbleToScale"] in {"SucceededGetScale", "SucceededRescale"}
    record_property("point", "a HorizontalPodAutoscaler reads a ModelDeployment's scale and selector, and scales it up")


def test_a_new_version_rolls_out_behind_the_old_one(kube: Kube, pods: ServerPods) -> None:
    old = _serve(kube, pods, **BY_URI)
    kube.patch("modeldeployment", "demo", {"spec": {"model": {"uri": "s3://models/next"}}})
    new = pods.new(old)
    kube.wait_condition("modeldeployment", "demo", "Ready", "Waiting")
    assert kube.status("modeldeployment", "demo")["readyReplicas"] == 1
    pods.crash(new, "engine", 1, "ValueError: no such architecture")
    kube.wait_condition("modeldeployment", "demo", "Ready", "EngineFailed")
    status = kube.wait_phase("modeldeployment", "demo", "ServingPrevious")
    assert status["failure"]["reason"] == "EngineFailed"
    assert [entry["state"] for entry in status["versions"]] == ["Active", "Failed"]
    assert sorted(pods.names()) == sorted([old, new])
    pods.answer(new)
    wait_for(lambda: old not in pods.names(), 15, lambda: "the old pod stays")
    kube.wait_phase("modeldeployment", "demo", "Ready")


def test_recreate_brings_the_version_before_back(kube: Kube, pods: ServerPods) -> None:
    old = _serve(kube, pods, **BY_URI, rollout="Recreate")
    version = _version(kube)
    kube.patch("modeldeployment", "demo", {"spec": {"model": {"uri": "s3://models/broken"}}})
    wait_for(lambda: old not in pods.names(), 15, lambda: "the old pod stays")
    pods.stop_deleted()
    broken = pods.new()
    pods.crash(broken, "engine", 1, "ValueError: no such architecture", restarts=3)
    wait_for(lambda: _version(kube) == version, 15, lambda: "the version before does not come back")
    wait_for(lambda: broken not in pods.names(), 15, lambda: "the broken pod stays")
    pods.stop_deleted()
    pods.answer(pods.new())
    wait_for(lambda: kube.status("modeldeployment", "demo")["readyReplicas"] == 1, 15, lambda: "nothing answers")
    status = kube.status("modeldeployment", "demo")
    assert [(entry["name"] == version, entry["state"]) for entry in status["versions"]] == [
        (True, "Active"),
        (False, "Failed"),
    ]
    assert "no such architecture" in status["failure"]["message"]
    kube.patch("modeldeployment", "demo", {"spec": {"engine": {"dtype": "float32"}}})
    wait_for(lambda: _version(kube) != version, 15, lambda: "the broken version is not tried again")


def test_a_refused_adapter_is_told_in_the_server_s_words(kube: Kube, pods: ServerPods) -> None:
    kube.create("modeldeployment", model_deployment(**BY_URI))
    text = "s3://models/tiny: vLLM cannot serve DoRA adapters; train without it."
    pods.crash(pods.new(), "fetch", 64, failure_summary(64, "AdapterNotServable", text))
    status = kube.wait_phase("modeldeployment", "demo", "Failed")
    assert (status["failure"]["reason"], status["failure"]["message"]) == ("AdapterNotServable", text)
    assert text in kube.condition("modeldeployment", "demo", "Loaded")["message"]
    reasons = {event["reason"] for event in kube.list("event") if event["involvedObject"]["kind"] == "ModelDeployment"}
    assert "AdapterNotServable" in reasons


def test_why_a_pod_does_not_start(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    kube.create("modeldeployment", model_deployment(**BY_URI))
    pod = pods.new()
    kubelet.cannot_schedule(pod, "0/3 nodes are available: 3 Insufficient memory.")
    condition = kube.wait_condition("modeldeployment", "demo", "Ready", "Unschedulable", seconds=5)
    assert "3 Insufficient memory" in condition["message"]
    kubelet.wait_in(pod, "ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: no such image')
    condition = kube.wait_condition("modeldeployment", "demo", "Ready", "ImagePullFailed", seconds=5)
    assert "no such image" in condition["message"]


def test_gpu_that_no_node_has(kube: Kube, kubelet: Kubelet, pods: ServerPods) -> None:
    kube.create("modeldeployment", model_deployment(**BY_URI, resources={"gpu": 1}))
    assert kube.wait_exists("deployment", "demo")["spec"]["strategy"] == {"type": "Recreate"}
    kubelet.cannot_schedule(pods.new(), "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    condition = kube.wait_condition("modeldeployment", "demo", "Ready", "NoNodeWithGPU", seconds=5)
    assert "spec.resources.gpu" in condition["message"]


def test_quota(kube: Kube) -> None:
    kube.create("resourcequota", {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    wait_for(lambda: kube.must("resourcequota", "none").get("status"), 15, lambda: "the quota is not counted")
    kube.create("modeldeployment", model_deployment(**BY_URI))
    condition = kube.wait_condition("modeldeployment", "demo", "Ready", "QuotaExceeded", seconds=5)
    assert "exceeded quota: none" in condition["message"]


def test_missing_cache_claim(kube: Kube) -> None:
    kube.create("modeldeployment", model_deployment(**BY_URI, cache={"claimName": "models"}))
    condition = kube.wait_condition("modeldeployment", "demo", "Accepted", "ClaimNotFound", seconds=5)
    assert f"{kube.namespace}/models" in condition["message"]
    assert kube.get("deployment", "demo") is None
    resources = {"requests": {"storage": "1Gi"}}
    claim = {"metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
    kube.create("persistentvolumeclaim", claim)
    kube.wait_exists("deployment", "demo", seconds=20)


def test_failed_job(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.fail(pod, 65, failure_summary(65, "EmptyDataset", "train.jsonl has no rows."))
    kube.wait_phase("finetunejob", "demo", "Failed")
    kube.create("modeldeployment", model_deployment())
    condition = kube.wait_condition("modeldeployment", "demo", "Accepted", "FineTuneJobFailed", seconds=5)
    assert "train.jsonl has no rows" in condition["message"]
    assert kube.status("modeldeployment", "demo")["phase"] == "Failed", "as an Evaluation of it"


@pytest.mark.parametrize("kind", ["deployment", "service"])
def test_foreign_children_are_left_alone(kube: Kube, kind: str) -> None:
    labels = {"app": "mine"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    specs: dict[str, dict[str, object]] = {
        "deployment": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
        "service": {"selector": labels, "ports": [{"port": 80}]},
    }
    kube.create(kind, {"metadata": {"name": "demo"}, "spec": specs[kind]})
    kube.create("modeldeployment", model_deployment(**BY_URI))
    condition = kube.wait_condition("modeldeployment", "demo", "Accepted", "NameConflict", seconds=5)
    assert "does not belong to this ModelDeployment" in condition["message"]
    assert kube.must(kind, "demo")["spec"].get("selector") == specs[kind]["selector"]
    assert "ownerReferences" not in kube.must(kind, "demo")["metadata"]


def test_deleting_it_leaves_nothing(kube: Kube, pods: ServerPods) -> None:
    pod = _serve(kube, pods, **BY_URI)
    kube.delete("modeldeployment", "demo")
    kube.wait_gone("service", "demo", seconds=60)
    kube.wait_gone("deployment", "demo", seconds=60)
    wait_for(lambda: pod not in pods.names(), 30, lambda: "the pod is not stopped")
    pods.stop_deleted()
    kube.wait_gone("pod", pod)


def test_writes_are_few_and_none_without_news(kube: Kube, pods: ServerPods, proxy: Proxy) -> None:
    kube.create("modeldeployment", model_deployment(**BY_URI))
    pod = pods.new()
    time.sleep(SETTLE_SECONDS)
    created = proxy.writes(kube.namespace)
    assert created[("PATCH", "deployments")] == created[("PATCH", "services")] == 1
    assert created[("PATCH", "modeldeployments/status")] <= 2
    pods.answer(pod)
    kube.wait_phase("modeldeployment", "demo", "Ready")
    time.sleep(SETTLE_SECONDS)
    before, passes = proxy.writes(kube.namespace), proxy.passes(kube.namespace, "modeldeployments")
    kube.patch("modeldeployment", "demo", {"metadata": {"labels": {"touched": "yes"}}})
    kube.patch("pod", pod, {"metadata": {"annotations": {"touched": "yes"}}})
    time.sleep(SETTLE_SECONDS)
    assert proxy.passes(kube.namespace, "modeldeployments") > passes, "the change was not looked at"
    assert proxy.writes(kube.namespace) == before
