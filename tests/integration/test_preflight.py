"""What happens before a FineTuneJob trains, against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web

from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.nodes import gpu_node, present
from tests.support.objects import failure_summary, finetunejob, preflight_summary, train_summary
from tests.support.operator import Operator
from tests.support.proxy import Matcher, Proxy

pytestmark = pytest.mark.usefixtures("operator")

CHECKS, TRAINING = "demo-preflight", "demo-train"


def checked_job(**spec: Any) -> dict[str, Any]:
    """A FineTuneJob with a preflight, as it is without a word about it."""
    return finetunejob(**{"preflight": {}, **spec})


def run_checks(kubelet: Kubelet, **summary: Any) -> str:
    """The preflight's pod runs and passes."""
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kubelet.succeed(pod, preflight_summary(**summary))
    return pod


def writes_status(namespace: str) -> Matcher:
    def matches(request: web.Request) -> bool:
        return request.method == "PATCH" and f"/namespaces/{namespace}/" in request.path and "/status" in request.path

    return matches


def test_checks_first_and_trains_then(admin: Api, kube: Kube, kubelet: Kubelet) -> None:
    with present(admin, gpu_node(kubelet.node)):
        check_and_train(kube, kubelet)


def check_and_train(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job(resources={"gpu": 1, "memory": "8Gi"}))
    container = kube.wait_exists("job", CHECKS)["spec"]["template"]["spec"]["containers"][0]
    limits = container["resources"]["limits"]
    assert set(limits) == {"memory", "ephemeral-storage"}, "no GPU is taken"
    assert limits["memory"] == "8Gi"
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Preflight")
    assert kube.condition("finetunejob", "demo", "Preflighted")["status"] == "Unknown"
    assert kube.get("job", TRAINING) is None
    kubelet.succeed(pod, preflight_summary())
    kube.wait_exists("job", TRAINING)
    condition = kube.wait_condition("finetunejob", "demo", "Preflighted", "PreflightPassed")
    assert condition["status"] == "True"
    assert "Needs 7.1 of 12.0 GiB." in condition["message"]
    figures = kube.status("finetunejob", "demo")["preflight"]
    assert (figures["fit"], figures["trainRows"], figures["tokenLengths"]["max"]) == ("Fits", 100, 512)

    training = kubelet.pod_of(TRAINING)
    kubelet.run(training)
    kube.wait_phase("finetunejob", "demo", "Running")
    kubelet.succeed(training, train_summary())
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert (status["preflight"], status["attempts"]) == (figures, 1)
    events = [event["reason"] for event in kube.list("event") if event["involvedObject"]["kind"] == "FineTuneJob"]
    assert sorted(events) == ["Completed", "PreflightPassed", "Running"]


def test_bad_data_is_told_before_anything_is_trained(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job(backoffLimit=5))
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kubelet.fail(pod, 65, failure_summary(65, "MalformedRow", "train.jsonl line 17: no prompt"))
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert (status["failure"]["reason"], status["failure"]["pod"]) == ("MalformedRow", pod)
    assert "line 17" in kube.condition("finetunejob", "demo", "Preflighted")["message"]
    assert kube.get("job", TRAINING) is None
    assert kube.must("job", CHECKS)["status"]["failed"] == 1, "it is not tried again"


def test_an_outage_is_tried_again(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job(backoffLimit=1))
    first = kubelet.pod_of(CHECKS)
    kubelet.run(first)
    kubelet.fail(first, 69, failure_summary(69, "StoreUnavailable", "no answer from the store"))
    condition = kube.wait_condition("finetunejob", "demo", "Preflighted", "Retrying")
    assert "no answer from the store" in condition["message"]
    run_checks(kubelet)
    kube.wait_exists("job", TRAINING)


def test_what_does_not_fit_takes_no_gpu(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job())
    run_checks(kubelet, fit="DoesNotFit", fitMessage="Needs 14.0 of 12.0 GiB; maxSequenceLength 1024 fits.")
    status = kube.wait_phase("finetunejob", "demo", "Failed")
    assert status["failure"]["reason"] == "DoesNotFit"
    assert "maxSequenceLength 1024 fits" in status["failure"]["message"]
    assert status["preflight"]["fit"] == "DoesNotFit"
    assert kube.get("job", TRAINING) is None


def test_what_does_not_fit_is_trained_when_asked_to(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job(preflight={"fit": "Warn"}))
    run_checks(kubelet, fit="DoesNotFit", fitMessage="Needs 14.0 of 12.0 GiB.")
    kube.wait_exists("job", TRAINING)

    def warned() -> bool:
        return any(event["reason"] == "DoesNotFit" and event["type"] == "Warning" for event in kube.list("event"))

    wait_for(warned, 10, lambda: "no Warning Event")


def test_left_out_nothing_is_checked(kube: Kube) -> None:
    kube.create("finetunejob", checked_job(preflight={"fit": "Skip"}))
    kube.wait_exists("job", TRAINING)
    kube.wait_condition("finetunejob", "demo", "Preflighted", "PreflightSkipped")
    assert kube.get("job", CHECKS) is None


def test_says_why_the_preflight_does_not_start(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job())
    pod = kubelet.pod_of(CHECKS)
    kubelet.wait_in(pod, "CreateContainerConfigError", 'secret "kubetune-object-store" not found')
    condition = kube.wait_condition("finetunejob", "demo", "Preflighted", "SecretNotFound")
    assert condition["status"] == "False"
    assert "create secret generic kubetune-object-store" in condition["message"]
    assert kube.condition("finetunejob", "demo", "Succeeded")["message"] == condition["message"]


def test_suspended_nothing_runs_at_any_stage(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job(suspend=True))
    kube.wait_phase("finetunejob", "demo", "Suspended")
    assert kube.must("job", CHECKS)["spec"]["suspend"] is True
    assert not kube.list("pod")

    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Preflight")
    kube.patch("finetunejob", "demo", {"spec": {"suspend": True}})
    kube.wait_phase("finetunejob", "demo", "Suspending")
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.finish_deletion(pod)

    kube.patch("finetunejob", "demo", {"spec": {"suspend": False}})
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Preflight")
    assert kube.get("job", TRAINING) is None


def test_deleted_by_hand_it_is_done_again(kube: Kube, kubelet: Kubelet) -> None:
    kube.create("finetunejob", checked_job())
    first = kube.wait_exists("job", CHECKS)
    kubelet.run(kubelet.pod_of(CHECKS))
    kube.wait_phase("finetunejob", "demo", "Preflight")
    kube.delete("job", CHECKS)

    def is_new() -> bool:
        job = kube.get("job", CHECKS)
        return job is not None and job["metadata"]["uid"] != first["metadata"]["uid"]

    wait_for(is_new, 15, lambda: "the preflight did not come back")


def test_findings_whose_pod_is_gone_are_found_again(kube: Kube, kubelet: Kubelet, operator: Operator) -> None:
    kube.create("finetunejob", checked_job())
    first = kube.wait_exists("job", CHECKS)
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    operator.kill()
    kubelet.succeed(pod, preflight_summary())

    def is_complete() -> bool:
        return bool(kube.must("job", CHECKS)["status"].get("completionTime"))

    wait_for(is_complete, 15, lambda: "the Job is not complete")
    kubelet.finish_deletion(pod)
    operator.start()
    operator.wait_ready()

    def is_new() -> bool:
        job = kube.get("job", CHECKS)
        return job is not None and job["metadata"]["uid"] != first["metadata"]["uid"]

    wait_for(is_new, 40, lambda: "the preflight was not done again")
    run_checks(kubelet)
    kube.wait_exists("job", TRAINING)


def test_passed_once_it_is_not_done_again(kube: Kube, kubelet: Kubelet) -> None:
    """Not after its Job has outlived its time, and not when the training's Job is deleted by hand."""
    kube.create("finetunejob", checked_job())
    run_checks(kubelet)
    kube.wait_exists("job", TRAINING)
    kube.wait_condition("finetunejob", "demo", "Preflighted", "PreflightPassed")
    for name in (CHECKS, TRAINING):
        kube.delete("job", name)
        kube.wait_gone("job", CHECKS)
    kube.wait_exists("job", TRAINING)
    kubelet.run(kubelet.pod_of(TRAINING))
    kube.wait_phase("finetunejob", "demo", "Running")
    assert kube.get("job", CHECKS) is None


@pytest.mark.parametrize("stage", [CHECKS, TRAINING])
def test_killed_between_a_job_and_the_status(
    kube: Kube, kubelet: Kubelet, operator: Operator, proxy: Proxy, stage: str
) -> None:
    """The Job exists, the status does not tell: the next operator finds the one and writes the other."""
    if stage == TRAINING:
        kube.create("finetunejob", checked_job())
        pod = kubelet.pod_of(CHECKS)
        kubelet.run(pod)
        kube.wait_phase("finetunejob", "demo", "Preflight")
    fault = proxy.fault(writes_status(kube.namespace), 500, times=1000)
    if stage == TRAINING:
        kubelet.succeed(pod, preflight_summary())
    else:
        kube.create("finetunejob", checked_job())
    job = kube.wait_exists("job", stage)
    wait_for(lambda: fault.served, 10, lambda: "no status write was tried")
    operator.kill()
    fault.times = 0
    operator.start()
    operator.wait_ready()
    wanted = "Waiting" if stage == CHECKS else "PreflightPassed"
    kube.wait_condition("finetunejob", "demo", "Preflighted", wanted)
    assert kube.must("job", stage)["metadata"]["uid"] == job["metadata"]["uid"]
    if stage == TRAINING:
        assert kube.status("finetunejob", "demo")["preflight"]["trainRows"] == 100


def test_a_foreign_job_of_its_name_is_left_alone(kube: Kube) -> None:
    container = {"name": "main", "image": "busybox"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    kube.create("job", {"metadata": {"name": CHECKS}, "spec": {"suspend": True, "template": template}})
    wait_for(lambda: kube.must("job", CHECKS).get("status", {}).get("conditions"), 15, lambda: "not suspended")
    before = kube.must("job", CHECKS)
    kube.create("finetunejob", checked_job())
    condition = kube.wait_condition("finetunejob", "demo", "Accepted", "NameConflict")
    assert CHECKS in condition["message"]
    time.sleep(0.5)
    assert kube.must("job", CHECKS) == before
