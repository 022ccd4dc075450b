"""A result that is in the object store already, against a real API server; the tests write what a kubelet would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import EVALUATION, finetunejob, found_summary, preflight_summary, train_summary
from tests.support.operator import Operator
from tests.support.points import Record

pytestmark = pytest.mark.usefixtures("operator")

CHECKS, TRAINING = "demo-preflight", "demo-train"
DATE = "2025-06-15T15:06:40Z"


def config_of(job: dict[str, Any]) -> dict[str, Any]:
    """What the Job's pods read."""
    found: dict[str, Any] = json.loads(job["spec"]["template"]["metadata"]["annotations"]["kubetune.io/config"])
    return found


def check(kube: Kube, kubelet: Kubelet, message: str) -> dict[str, Any]:
    """The preflight's pod runs and says this; its configuration."""
    pod = kubelet.pod_of(CHECKS)
    kubelet.run(pod)
    kubelet.succeed(pod, message)
    return config_of(kube.must("job", CHECKS))


def trained_once(kube: Kube, kubelet: Kubelet) -> dict[str, Any]:
    """A FineTuneJob that has trained for itself; what its pods were told."""
    kube.create("finetunejob", finetunejob(preflight={}, evaluation=EVALUATION))
    config = check(kube, kubelet, preflight_summary())
    pod = kubelet.pod_of(TRAINING)
    kubelet.run(pod)
    kubelet.succeed(pod, train_summary(runSha256="34" * 32))
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert status["results"]["runSHA256"] == "34" * 32
    kube.wait_exists("evaluation", "demo")
    return config


@pytest.mark.law("L11", "F12")
def test_after_delete_and_create_nothing_is_trained(kube: Kube, kubelet: Kubelet, record_property: Record) -> None:
    before = trained_once(kube, kubelet)
    kube.delete("finetunejob", "demo", "Foreground")
    kube.wait_gone("finetunejob", "demo")
    kube.create("finetunejob", finetunejob(preflight={}, evaluation=EVALUATION))
    now = check(kube, kubelet, found_summary())
    assert now["results"] == before["results"] == f"s3://kubetune/finetunejobs/{kube.namespace}/demo/results"
    assert now["output"] != before["output"]
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    said = kube.condition("finetunejob", "demo", "Succeeded")
    assert (said["reason"], said["status"]) == ("ResultFound", "True")
    assert DATE in said["message"]
    assert status["artifact"]["uri"] == "s3://kubetune/x/adapter"
    assert (status["results"]["trainedTime"], status["mlflowRunID"], status["attempts"]) == (DATE, "run-1", 0)
    kube.wait_exists("evaluation", "demo")
    assert kube.get("job", TRAINING) is None
    events = [event["reason"] for event in kube.list("event") if event["involvedObject"]["kind"] == "FineTuneJob"]
    assert "ResultFound" in events
    record_property("point", f"delete and create: the result of {DATE} is taken, no Job trains, an Evaluation follows")


@pytest.mark.law("L11", "F12")
def test_a_status_that_is_lost_is_found_again(
    kube: Kube, kubelet: Kubelet, operator: Operator, record_property: Record
) -> None:
    """As a backup restores it: the object without its status, and without its Jobs."""
    trained_once(kube, kubelet)
    operator.kill()
    for job in (TRAINING, CHECKS):
        kube.delete("job", job)
        kube.wait_gone("job", job)
    kube.patch("finetunejob", "demo", {"status": None}, "status")
    operator.start()
    operator.wait_ready()
    check(kube, kubelet, found_summary())
    status = kube.wait_phase("finetunejob", "demo", "Succeeded")
    assert kube.condition("finetunejob", "demo", "Succeeded")["reason"] == "ResultFound"
    assert status["results"]["trainedTime"] == DATE
    assert kube.get("job", TRAINING) is None
    record_property("point", "status and Jobs lost: found again, nothing trained")


@pytest.mark.law("L11", "F12")
def test_another_rerun_is_told_to_the_pods_and_cannot_be_changed(
    kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    kube.create("finetunejob", finetunejob(preflight={}, rerun="second try"))
    assert check(kube, kubelet, preflight_summary())["rerun"] == "second try"
    assert config_of(kube.wait_exists("job", TRAINING))["rerun"] == "second try"
    with pytest.raises(Exception, match=r"immutable|cannot be changed|only suspend"):
        kube.patch("finetunejob", "demo", {"spec": {"rerun": "third"}})
    record_property("point", "spec.rerun: reaches both pods, and belongs to the run for good")


@pytest.mark.law("F21")
def test_what_a_run_began_with_stays_when_its_job_is_made_anew(
    kube: Kube, kubelet: Kubelet, record_property: Record
) -> None:
    """Status lost in the middle, then the Job deleted, as Kueue's withdrawal does it."""
    settings = {"reason": "100 rows", "numTrainEpochs": 4.0, "gradientAccumulationSteps": 1, "warmupRatio": 0.1}
    kube.create("finetunejob", finetunejob(preflight={}))
    check(kube, kubelet, preflight_summary(settings=settings))
    pod = kubelet.pod_of(TRAINING)
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "demo", "Running")
    before = config_of(kube.must("job", TRAINING))["hyperparameters"]
    assert before["numTrainEpochs"] == 4.0
    kube.delete("job", CHECKS)
    kube.wait_gone("job", CHECKS)
    kube.patch("finetunejob", "demo", {"status": None}, "status")

    def shown() -> bool:
        effective = kube.must("finetunejob", "demo").get("status", {}).get("effective", {})
        return bool(effective.get("hyperparameters", {}).get("numTrainEpochs") == 4.0)

    wait_for(shown, 30, lambda: "the Job's settings do not show")
    uid = kube.must("job", TRAINING)["metadata"]["uid"]
    kube.delete("job", TRAINING)
    kubelet.finish_deletion(pod)

    def made_anew() -> dict[str, Any] | None:
        found = kube.get("job", TRAINING)
        return found if found and found["metadata"]["uid"] != uid else None

    anew = wait_for(made_anew, 30, lambda: "no new Job")
    assert config_of(anew)["hyperparameters"] == before
    record_property("point", "status lost, Job made anew: the settings of the rows, not the plain defaults")
