"""A FineTuneJob's whole life against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import EVALUATION, failure_summary, finetunejob, train_summary
from tests.support.operator import Operator

pytestmark = pytest.mark.usefixtures("operator")

POD_IP = "127.9.9.9"


@pytest.fixture
def progress() -> Iterator[dict[str, object]]:
    """What a running trainer's progress endpoint answers; change the dict to go on."""
    answer: dict[str, object] = {"phase": "training", "step": 31, "totalSteps": 50, "updatedAt": time.time()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    server = http.server.ThreadingHTTPServer((POD_IP, 9400), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield answer
    server.shutdown()
    server.server_close()
    thread.join()


def test_trains_publishes_and_creates_the_evaluation(
    kube: Kube, kubelet: Kubelet, progress: dict[str, object], operator: Operator
) -> None:
    kube.create("finetunejob", finetunejob(evaluation=EVALUATION))
    job = kube.wait_exists("job", "demo-train")
    owner = job["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("FineTuneJob", "demo", True)
    config = json.loads(job["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    assert config["output"] == f"s3://kubetune/finetunejobs/{kube.namespace}/demo/{owner['uid']}"
    pod = kubelet.pod_of("demo-train")
    kubelet.cannot_schedule(pod, "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes: none.")
    scheduled = kube.wait_condition("finetunejob", "demo", "Scheduled", "Unschedulable")
    assert scheduled["message"].endswith("3 Insufficient memory.")
    progress.update(loss=1.5, etaSeconds=720.0)
    kubelet.run(pod, POD_IP)
    kube.wait_phase("finetunejob", "demo", "Running")

    def shown() -> object:
        return kube.status("finetunejob", "demo").get("progress", {}).get("display") == "62% 31/50"

    wait_for(shown, 10, lambda: str(kube.status("finetunejob", "demo")))
    assert kube.status("finetunejob", "demo")["progress"]["eta"] == "12m"
    assert operator.metrics()["kubetune_finetunejob_loss", "demo", kube.namespace] == 1.5

    kubelet.succeed(pod, train_summary())
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert status["artifact"]["uri"] == "s3://kubetune/x/adapter"
    assert status["results"]["trainRows"] == 100
    assert status["mlflowRunID"] == "run-1"
    assert status["attempts"] == 1
    wait_for(lambda: kube.status("finetunejob", "demo").get("evaluationRef"), 10, lambda: "no evaluation")
    assert kube.status("finetunejob", "demo")["evaluationRef"] == {"name": "demo"}
    evaluation = kube.must("evaluation", "demo")
    assert evaluation["metadata"]["ownerReferences"][0]["kind"] == "FineTuneJob"
    assert evaluation["spec"]["candidate"] == {"fineTuneJobRef": {"name": "demo"}}
    reasons = {event["reason"] for event in kube.list("event") if event["involvedObject"]["kind"] == "FineTuneJob"}
    assert reasons == {"Unschedulable", "Running", "Completed"}
    assert ("kubetune_finetunejob_loss", "demo", kube.namespace) not in operator.metrics()


def test_a_finished_job_is_never_trained_again(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary())
    before = kube.wait_phase("finetunejob", "demo", "Succeeded")
    kube.delete("job", "demo-train")
    kube.wait_gone("job", "demo-train")
    kube.patch("finetunejob", "demo", {"metadata": {"labels": {"touched": "yes"}}})
    time.sleep(1)
    assert kube.get("job", "demo-train") is None
    assert kube.status("finetunejob", "demo") == before


@pytest.mark.parametrize(
    ("code", "reason", "message", "expected", "words"),
    [
        (
            65,
            "Error",
            failure_summary(65, "MalformedRow", "dataset train.jsonl line 17: no prompt"),
            "MalformedRow",
            "line 17",
        ),
        (77, "Error", failure_summary(77, "AccessDenied", "bucket data: access denied"), "AccessDenied", "bucket data"),
        (66, "Error", "", "InputNotFound", "exited with code 66"),
        (137, "OOMKilled", "", "OutOfMemory", "spec.resources.memory"),
        (1, "Error", "ImportError: no module named torch", "Error", "no module named torch"),
    ],
    ids=["data", "permission", "input", "oom", "crash"],
)
def test_says_why_the_pod_failed(
    kube: Kube, kubelet: Kubelet, code: int, reason: str, message: str, expected: str, words: str
) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=0))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.fail(pod, code, message, reason)
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert status["failure"]["reason"] == expected
    assert words in status["failure"]["message"]
    assert status["failure"]["exitCode"] == code
    assert status["failure"]["pod"] == pod
    assert kube.condition("finetunejob", "demo", "Succeeded")["reason"] == expected


def test_tries_again_and_names_the_last_failure(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=1))
    first = kubelet.pod_of("demo-train")
    kubelet.run(first)
    kubelet.fail(first, 69, failure_summary(69, "StoreUnavailable", "no answer from the store"))
    kube.wait_condition("finetunejob", "demo", "Succeeded", "Retrying")
    second = kubelet.pod_of("demo-train", seconds=30)
    kubelet.run(second)
    running = kube.wait_phase("finetunejob", "demo", "Running")
    assert running["attempts"] == 2
    assert running["failure"]["reason"] == "StoreUnavailable", "what ended the attempt before stays in sight"
    assert "attempt 2 of 2" in kube.condition("finetunejob", "demo", "Succeeded")["message"]
    kubelet.fail(second, 69, failure_summary(69, "StoreUnavailable", "no answer from the store"))
    kube.wait_phase("finetunejob", "demo", "Failed")
    summary = kube.condition("finetunejob", "demo", "Succeeded")
    assert summary["reason"] == "BackoffLimitExceeded"
    assert "StoreUnavailable: no answer from the store" in summary["message"]


def test_a_permanent_failure_is_not_tried_again(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=5))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.fail(pod, 64, failure_summary(64, "InvalidConfig", "configuration: method is odd"))
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert status["attempts"] == 1
    assert status["failure"]["reason"] == "InvalidConfig"


@pytest.mark.parametrize(
    ("reason", "text", "expected", "words"),
    [
        ("ImagePullBackOff", 'Back-off pulling image "x"', "ImagePullFailed", "cannot be pulled"),
        ("CreateContainerConfigError", 'secret "kubetune-object-store" not found', "SecretNotFound", "create secret"),
        ("CreateContainerError", "no such device", "ContainerNotStarted", "no such device"),
    ],
)
def test_says_why_the_pod_does_not_start(
    kube: Kube, kubelet: Kubelet, reason: str, text: str, expected: str, words: str
) -> None:
    kube.create("finetunejob", finetunejob())
    kubelet.wait_in(kubelet.pod_of("demo-train"), reason, text)
    condition = kube.wait_condition("finetunejob", "demo", "Running", expected)
    assert words in condition["message"]


def test_deadline(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(activeDeadlineSeconds=1))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert status["failure"]["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds (1)" in status["failure"]["message"]


def test_suspend_and_resume(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")
    assert kube.must("job", "demo-train")["spec"]["suspend"] is True
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", "demo", "Suspending")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    said = "asked to stop after step 5 of 10; the next attempt goes on from the checkpoint of step 5"
    kubelet.fail(pod, 75, failure_summary(75, "Preempted", said))
    kube.wait_phase("finetunejob", "demo", "Suspended")
    kubelet.finish_deletion(pod)
    kube.wait_gone("pod", pod)
    time.sleep(1)
    assert said in kube.condition("finetunejob", "demo", "Succeeded")["message"], "what is saved is known afterwards"


@pytest.mark.parametrize("code", [75, 137], ids=["preempted", "killed"])
def test_a_suspended_pod_never_counts_as_failed(kube: Kube, kubelet: Kubelet, code: int) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=0))
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.fail(pod, code)
    kubelet.finish_deletion(pod)
    status = kube.wait_phase("finetunejob", "demo", "Suspended")
    assert (status["attempts"], "failure" in status, "completionTime" in status) == (1, False, False)
    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    second = kubelet.pod_of("demo-train")
    kubelet.run(second)
    kube.wait_phase("finetunejob", "demo", "Running")
    kubelet.succeed(second, train_summary())
    kube.wait_phase("finetunejob", "demo", "Succeeded")


def test_a_preempted_pod_costs_no_attempt_of_the_limit(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob(backoffLimit=0))
    first = kubelet.pod_of("demo-train")
    kubelet.run(first)
    kubelet.fail(first, 75, failure_summary(75, "Preempted", "stopped at step 31"))
    kubelet.run(kubelet.pod_of("demo-train"))
    kube.wait_phase("finetunejob", "demo", "Running")


def test_missing_claim_is_named_and_waited_for(kube: Kube) -> None:
    kube.create("finetunejob", finetunejob(baseModel={"uri": "pvc://models/tiny"}))
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "ClaimNotFound", seconds=5)
    assert f"{kube.namespace}/models" in condition["message"]
    assert kube.get("job", "demo-train") is None
    resources = {"requests": {"storage": "1Gi"}}
    claim = {"metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
    kube.create("persistentvolumeclaim", claim)
    kube.wait_exists("job", "demo-train", seconds=20)
    kube.wait_condition("finetunejob", "demo", "Accepted", "Accepted")


def test_config_map_without_the_key(kube: Kube) -> None:
    kube.create("configmap", {"metadata": {"name": "rows"}, "data": {"a.jsonl": "{}"}})
    kube.create("finetunejob", finetunejob(dataset={"uri": "configmap://rows/b.jsonl"}))
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "ConfigMapNotFound", seconds=5)
    assert "has no key b.jsonl; it has: a.jsonl" in condition["message"]


def test_quota(kube: Kube) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    kube.create("resourcequota", quota)
    wait_for(lambda: kube.must("resourcequota", "none").get("status"), 15, lambda: "the quota is not counted")
    kube.create("finetunejob", finetunejob())
    condition = kube.wait_condition("finetunejob", "demo", "Scheduled", "QuotaExceeded", seconds=5)
    assert "exceeded quota: none" in condition["message"]


def test_quota_on_jobs(kube: Kube) -> None:
    kube.create("resourcequota", {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}})
    wait_for(lambda: kube.must("resourcequota", "none").get("status"), 15, lambda: "the quota is not counted")
    kube.create("finetunejob", finetunejob())
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "QuotaExceeded", seconds=5)
    assert "exceeded quota: none" in condition["message"]


def test_unknown_runtime_class(kube: Kube) -> None:
    kube.create("finetunejob", finetunejob(runtimeClassName="nonexistent"))
    condition = kube.wait_condition("finetunejob", "demo", "Scheduled", "RuntimeClassNotFound", seconds=5)
    assert "nonexistent" in condition["message"]


def test_result_lost_with_its_pod(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.succeed(pod, "not what a trainer says")
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert status["failure"]["reason"] == "ResultLost"
    assert f"finetunejobs/{kube.namespace}/demo/" in status["failure"]["message"]
