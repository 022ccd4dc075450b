"""What serves is kept: by other settings of the operator, by an upgrade, and by a folder that somebody overwrites."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from kubetune.modeldeployment.ledger import LEDGER_ANNOTATION
from tests.support.kube import Kube, Kubelet, wait_for
from tests.support.objects import failure_summary
from tests.support.operator import Operator, instead
from tests.support.points import Record
from tests.support.workloads import ServerPods, evaluate_folder, model_deployment

pytestmark = pytest.mark.usefixtures("operator")

SETTLE_SECONDS = 1.5
FOLDER = "s3://models/tiny"
BY_URI = {"model": {"uri": FOLDER}}
FIRST, SECOND = f"manifest:{'1' * 64}", f"files:{'2' * 64}"
NEXT = {
    "server_image": "kubetune/server:next",
    "server_cpu_image": "kubetune/server-cpu:next",
    "image_pull_policy": "Always",
    "log_level": "DEBUG",
    "store_region": "eu-central-1",
    "store_endpoint": "http://elsewhere:7070",
}


@pytest.fixture
def pods(kube: Kube, kubelet: Kubelet) -> ServerPods:
    return ServerPods(kube, kubelet)


def _serve(kube: Kube, pods: ServerPods, **spec: Any) -> str:
    """A ModelDeployment that is Ready; the name of its pod."""
    kube.create("modeldeployment", model_deployment(**spec))
    kube.wait_exists("deployment", "demo")
    pod = pods.new()
    pods.answer(pod)
    kube.wait_phase("modeldeployment", "demo", "Ready")
    return pod


def _prescribed(kube: Kube) -> dict[str, str]:
    """What the server's configuration says that the folders must hold."""
    annotations = kube.must("deployment", "demo")["spec"]["template"]["metadata"]["annotations"]
    found: dict[str, str] = json.loads(annotations["kubetune.io/config"])["model"].get("contents", {})
    return found


def _image(kube: Kube) -> str:
    found: str = kube.must("deployment", "demo")["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def _spec(kube: Kube) -> dict[str, Any]:
    found: dict[str, Any] = kube.must("deployment", "demo")["spec"]
    return found


def _active(kube: Kube) -> dict[str, Any]:
    """What the ledger says of the release that runs."""
    found: dict[str, Any] = json.loads(kube.must("deployment", "demo")["metadata"]["annotations"][LEDGER_ANNOTATION])
    active: dict[str, Any] = found["active"]
    return active


@pytest.mark.law("L6", "F2")
def test_other_settings_and_images_of_the_operator_restart_no_served_model(
    kube: Kube, pods: ServerPods, operator: Operator, record_property: Record
) -> None:
    pod = _serve(kube, pods, **BY_URI)
    before = _spec(kube)
    with instead(operator, **NEXT):
        waiting = wait_for(
            lambda: kube.status("modeldeployment", "demo").get("availableImage"), 15, lambda: "no image is told"
        )
        assert waiting == NEXT["server_cpu_image"]
        time.sleep(SETTLE_SECONDS)
        assert (_spec(kube), pods.names()) == (before, [pod])
        assert kube.status("modeldeployment", "demo")["phase"] == "Ready"
        kube.patch("modeldeployment", "demo", {"spec": {"revision": "2"}})
        wait_for(lambda: _image(kube) == NEXT["server_cpu_image"], 15, lambda: "the image is not taken")
        pods.answer(pods.new(pod))
        wait_for(lambda: pod not in pods.names(), 15, lambda: "the old pod stays")
        status = kube.wait_phase("modeldeployment", "demo", "Ready")
        assert "availableImage" not in status
    record_property(
        "point", "log level, pull policy, region, endpoint and image of the operator leave a served model's pods alone"
    )


@pytest.mark.law("L6", "F2")
def test_an_upgrade_from_an_operator_that_kept_no_pods_adopts_what_runs(
    kube: Kube, pods: ServerPods, operator: Operator, record_property: Record
) -> None:
    pod = _serve(kube, pods, **BY_URI, resources={"cpu": "0.5", "memory": "1024Mi"})
    before = _spec(kube)
    operator.stop()
    for kind in ("deployment", "service"):
        ledger = json.loads(kube.must(kind, "demo")["metadata"]["annotations"][LEDGER_ANNOTATION])
        del ledger["active"]["pods"]
        kube.patch(kind, "demo", {"metadata": {"annotations": {LEDGER_ANNOTATION: json.dumps(ledger)}}})
    with instead(operator, **NEXT):
        wait_for(lambda: "pods" in _active(kube), 15, lambda: "the pods are not kept")
        time.sleep(SETTLE_SECONDS)
        assert (_spec(kube), pods.names()) == (before, [pod])
    assert (_spec(kube), pods.names()) == (before, [pod])
    kube.patch("modeldeployment", "demo", {"spec": {"drainSeconds": 7}})
    wait_for(lambda: _spec(kube) != before, 15, lambda: "a change of the spec has no effect any more")
    pods.answer(pods.new(pod))
    wait_for(lambda: pod not in pods.names(), 15, lambda: "the old pod stays")
    kube.wait_phase("modeldeployment", "demo", "Ready")
    record_property("point", "an upgrade from an operator that kept no pods in its ledger restarts no served model")


@pytest.mark.parametrize("rollout", ["RollingUpdate", "Recreate"])
@pytest.mark.law("L3", "F3")
def test_a_folder_that_was_overwritten_after_its_go_is_refused_and_the_one_before_serves(
    kube: Kube, kubelet: Kubelet, pods: ServerPods, rollout: str, record_property: Record
) -> None:
    evaluate_folder(kube, kubelet, "first", FOLDER, FIRST)
    assert kube.status("evaluation", "first")["candidate"] == {"uri": FOLDER, "content": FIRST}
    old = _serve(kube, pods, **BY_URI, rollout=rollout, requireVerdict={"evaluationRef": {"name": "first"}})
    assert _prescribed(kube) == {"model": FIRST}
    assert kube.status("modeldeployment", "demo")["versions"][0]["content"] == FIRST

    evaluate_folder(kube, kubelet, "second", FOLDER, SECOND)
    kube.patch("modeldeployment", "demo", {"spec": {"requireVerdict": {"evaluationRef": {"name": "second"}}}})
    wait_for(lambda: _prescribed(kube) == {"model": SECOND}, 15, lambda: "the judged files are not asked for")
    if rollout == "Recreate":
        wait_for(lambda: old not in pods.names(), 15, lambda: "the old pod stays")
        pods.stop_deleted()
    text = f"{FOLDER} does not hold what was admitted: that was {SECOND}, there is {FIRST} now."
    refused = pods.new(old)
    pods.crash(refused, "fetch", 81, failure_summary(81, "ContentChanged", text))
    if rollout == "Recreate":
        wait_for(lambda: _prescribed(kube) == {"model": FIRST}, 15, lambda: "the version before does not come back")
        wait_for(lambda: refused not in pods.names(), 15, lambda: "the refused pod stays")
        pods.stop_deleted()
        pods.answer(pods.new())
    kube.wait_condition("modeldeployment", "demo", "Ready", "ContentChanged")
    status = kube.wait_phase("modeldeployment", "demo", "ServingPrevious")
    assert (status["ready"], status["versions"][0]["content"]) == ("1/1", FIRST)
    assert status["failure"]["reason"] == "ContentChanged"
    ready = kube.condition("modeldeployment", "demo", "Ready")
    assert ready["reason"] == "ContentChanged"
    assert FIRST in ready["message"]
    assert SECOND in ready["message"]
    record_property("point", f"{rollout}: a folder overwritten after its Go is refused, and what was judged serves")


@pytest.mark.law("L4", "F3")
def test_a_pod_that_starts_again_serves_what_was_admitted_or_nothing(
    kube: Kube, kubelet: Kubelet, pods: ServerPods
) -> None:
    evaluate_folder(kube, kubelet, "first", FOLDER, FIRST)
    pod = _serve(kube, pods, **BY_URI, requireVerdict={"evaluationRef": {"name": "first"}})
    kube.delete("evaluation", "first")
    kube.delete("pod", pod)
    kubelet.finish_deletion(pod)
    again = pods.new(pod)
    assert _prescribed(kube) == {"model": FIRST}, "also without the Evaluation"
    text = f"{FOLDER} does not hold what was admitted: that was {FIRST}, there is {SECOND} now."
    pods.crash(again, "fetch", 81, failure_summary(81, "ContentChanged", text), restarts=5)
    status = kube.wait_phase("modeldeployment", "demo", "Failed")
    assert (status["failure"]["reason"], status["failure"]["message"]) == ("ContentChanged", text)
    pods.answer(again)
    kube.wait_phase("modeldeployment", "demo", "Ready")
