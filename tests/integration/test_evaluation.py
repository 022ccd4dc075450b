"""An Evaluation's whole life against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary, finetunejob
from tests.support.proxy import Proxy
from tests.support.workloads import ARTIFACT, eval_summary, evaluation, finish_training, remove, train

pytestmark = pytest.mark.usefixtures("operator")

SETTLE_SECONDS = 1.5
BY_URI = {"candidate": {"uri": "s3://models/tuned"}, "baselines": [{"name": "base", "uri": "s3://models/tiny"}]}


def test_waits_for_its_job_measures_and_stays_finished(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("evaluation", evaluation())
    kube.wait_condition("evaluation", "demo", "Accepted", "FineTuneJobNotFound", seconds=5)
    kube.create("finetunejob", finetunejob())
    kube.wait_condition("evaluation", "demo", "Succeeded", "FineTuneJobNotFinished")
    assert kube.get("job", "demo-evaluate") is None
    finish_training(kube, kubelet)

    job = kube.wait_exists("job", "demo-evaluate")
    owner = job["metadata"]["ownerReferences"][0]
    config = json.loads(job["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    assert config["candidate"] == {"name": "candidate", "uri": "s3://models/tiny", "adapterUri": ARTIFACT}
    assert config["baselines"] == [{"name": "base", "uri": "s3://models/tiny"}]
    assert config["output"] == f"s3://kubetune/evaluations/{kube.namespace}/demo/{owner['uid']}"

    pod = kubelet.pod_of("demo-evaluate")
    kubelet.run(pod)
    kube.wait_phase("evaluation", "demo", "Running")
    kubelet.succeed(pod, eval_summary())
    status = kube.wait_phase("evaluation", "demo", "Succeeded")
    assert (status["verdict"], status["n"], status["delta"]) == ("Go", 200, "+0.41 [0.34, 0.48]")
    assert status["metrics"][0]["candidateValue"] == 0.41
    assert status["report"]["manifestSHA256"] == "cd" * 32
    assert status["candidate"] == {"uri": "s3://models/tiny", "adapterUri": ARTIFACT}
    reasons = {event["reason"] for event in kube.list("event") if event["involvedObject"]["kind"] == "Evaluation"}
    assert {"Running", "Completed"} <= reasons

    kube.delete("job", "demo-evaluate")
    kube.delete("finetunejob", "demo")
    kube.wait_gone("job", "demo-evaluate", seconds=60)
    time.sleep(SETTLE_SECONDS)
    assert kube.status("evaluation", "demo") == status
    assert kube.get("job", "demo-evaluate") is None


@pytest.mark.walk("W13")
def test_a_failed_job_fails_it_for_good(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", finetunejob())
    pod = kubelet.pod_of("demo-train")
    kubelet.run(pod)
    kubelet.fail(pod, 65, failure_summary(65, "MalformedRow", "train.jsonl line 3 is not JSON."))
    kube.wait_phase("finetunejob", "demo", "Failed")
    kube.create("evaluation", evaluation())
    condition = kube.wait_condition("evaluation", "demo", "Succeeded", "FineTuneJobFailed", seconds=5)
    assert "line 3" in condition["message"]
    status = kube.wait_phase("evaluation", "demo", "Failed")
    assert kube.condition("evaluation", "demo", "Accepted")["reason"] == "FineTuneJobFailed"
    assert kube.condition("evaluation", "demo", "Finished")["reason"] == "Failed"
    remove(kube, kubelet, "finetunejob", "demo", "demo-train")
    train(kube, kubelet)
    time.sleep(1)
    assert kube.get("job", "demo-evaluate") is None
    assert kube.status("evaluation", "demo") == status


def test_bad_data_is_told_with_its_line(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("evaluation", evaluation(**BY_URI))
    pod = kubelet.pod_of("demo-evaluate")
    kubelet.run(pod)
    kubelet.fail(pod, 65, failure_summary(65, "MalformedRow", "dataset test.jsonl line 17: not JSON."))
    status = kube.wait_phase("evaluation", "demo", "Failed")
    assert (status["failure"]["reason"], status["failure"]["exitCode"]) == ("MalformedRow", 65)
    assert "line 17" in kube.condition("evaluation", "demo", "Succeeded")["message"]
    assert "verdict" not in status


def test_missing_inputs_are_named_and_waited_for(kube: Kube) -> None:
    kube.create("evaluation", evaluation(**BY_URI, dataset={"uri": "configmap://items/test.jsonl"}))
    condition = kube.wait_condition("evaluation", "demo", "Accepted", "ConfigMapNotFound", seconds=5)
    assert f"{kube.namespace}/items" in condition["message"]
    kube.create("configmap", {"metadata": {"name": "items"}, "data": {"test.jsonl": "{}"}})
    kube.wait_exists("job", "demo-evaluate", seconds=20)


def test_suspend_and_resume(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("evaluation", evaluation(**BY_URI, suspend=True))
    kube.wait_phase("evaluation", "demo", "Suspended")
    kube.patch("evaluation", "demo", {"spec": {"suspend": False}})
    kubelet.run(kubelet.pod_of("demo-evaluate"))
    kube.wait_phase("evaluation", "demo", "Running")
    kube.patch("evaluation", "demo", {"spec": {"suspend": True}})
    kube.wait_phase("evaluation", "demo", "Suspending")
    assert kube.must("job", "demo-evaluate")["spec"]["suspend"] is True


def test_a_deleted_job_comes_back_with_the_same_models(kube: Kube, kubelet: Kubelet) -> None:
    train(kube, kubelet)
    kube.create("evaluation", evaluation())
    first = kube.wait_exists("job", "demo-evaluate")
    kubelet.run(kubelet.pod_of("demo-evaluate"))
    kube.wait_phase("evaluation", "demo", "Running")
    kube.delete("job", "demo-evaluate")

    def is_new() -> bool:
        job = kube.get("job", "demo-evaluate")
        return job is not None and job["metadata"]["uid"] != first["metadata"]["uid"]

    wait_for(is_new, 15, lambda: "the Job did not come back")
    again = kube.must("job", "demo-evaluate")
    assert again["spec"]["template"]["metadata"]["annotations"] == first["spec"]["template"]["metadata"]["annotations"]


def test_a_foreign_job_is_left_alone(kube: Kube) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    kube.create("job", {"metadata": {"name": "demo-evaluate"}, "spec": {"suspend": True, "template": template}})
    wait_for(lambda: kube.must("job", "demo-evaluate").get("status", {}).get("conditions"), 15, lambda: "not suspended")
    before = kube.must("job", "demo-evaluate")
    kube.create("evaluation", evaluation(**BY_URI))
    condition = kube.wait_condition("evaluation", "demo", "Accepted", "NameConflict", seconds=5)
    assert "does not belong to this Evaluation" in condition["message"]
    assert kube.must("job", "demo-evaluate") == before


def test_two_writes_for_a_new_object_and_none_for_a_look(kube: Kube, proxy: Proxy) -> None:
    kube.create("evaluation", evaluation(**BY_URI))
    kube.wait_phase("evaluation", "demo", "Pending")
    time.sleep(SETTLE_SECONDS)
    assert proxy.writes(kube.namespace) == Counter({("POST", "jobs"): 1, ("PATCH", "evaluations/status"): 1})
    before, passes = proxy.writes(kube.namespace), proxy.passes(kube.namespace, "evaluations")
    kube.patch("evaluation", "demo", {"metadata": {"labels": {"touched": "yes"}}})
    time.sleep(SETTLE_SECONDS)
    assert proxy.passes(kube.namespace, "evaluations") > passes, "the change was not looked at"
    assert proxy.writes(kube.namespace) == before
