"""`helm upgrade` from the release before, with everything under way: nothing restarts and nothing is lost.

The operator of the former release is its own source, out of git, with its own chart. Both operators run with what
their chart gives them: environment, service account and rights.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import CHART
from tests.support.former import NoHistoryError, unpack
from tests.support.installation import Installation, empty_cluster
from tests.support.kube import wait_for
from tests.support.objects import (
    EVALUATION,
    failure_summary,
    finetunejob,
    preflight_summary,
    store_secret,
    train_summary,
)
from tests.support.operator import ROOT
from tests.support.points import Record
from tests.support.trainer import answering
from tests.support.workloads import ServerPods, eval_summary, evaluation, model_deployment

Object = dict[str, Any]
Children = dict[tuple[str, str], Object]
Statuses = dict[tuple[str, str], Object]

FORMER = "b206dba"
"""The last commit whose operator restarted what serves, kept no results by content and took no lease."""
PATIENCE = 90.0
"""Seconds until a place is given: the former operator kept that of a suspended training for up to a minute."""
SETTLE_SECONDS = 2.0
IMAGES = ("operator", "trainer", "evaluator", "server", "serverCpu")
TRAINER_IP, EVALUATOR_IP = (f"127.9.{os.getpid() % 250}.{number}" for number in (21, 22))
SAVED = "asked to stop after step 5 of 10; the next attempt goes on from the checkpoint of step 5"
BY_URI = {"candidate": {"uri": "s3://models/tuned"}, "baselines": [{"name": "base", "uri": "s3://models/tiny"}]}


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout of the former release."""
    try:
        return unpack(FORMER, tmp_path_factory.mktemp("former"))
    except NoHistoryError as error:
        pytest.skip(f"commit {FORMER} cannot be had (a shallow clone?): {error}")


class World(Installation):
    """What is looked at before and after."""

    def children(self) -> Children:
        """What an upgrade must leave alone: of every child what a restart or a new pod would change."""
        found: Children = {}
        for kind in ("job", "deployment", "replicaset", "service", "pod"):
            for child in self.kube.list(kind):
                metadata, spec = child["metadata"], child["spec"]
                kept = {"uid": metadata["uid"], "deleted": metadata.get("deletionTimestamp")}
                # A Deployment's generation counts annotations, too, and the ledger is one; its ReplicaSets tell.
                if kind == "job":
                    kept |= {"template": spec["template"], "suspend": spec["suspend"]}
                else:
                    kept["spec"] = spec
                found[kind, metadata["name"]] = kept
        return found

    def statuses(self) -> Statuses:
        return {
            (kind, obj["metadata"]["name"]): obj["status"]
            for kind in ("finetunejob", "evaluation", "modeldeployment")
            for obj in self.kube.list(kind)
        }

    def pods(self, name: str) -> ServerPods:
        return ServerPods(self.kube, self.kubelet, name)

    def tag(self, kind: str, name: str) -> str:
        """Of the image of a child's pods."""
        image: str = self.kube.must(kind, name)["spec"]["template"]["spec"]["containers"][0]["image"]
        return image.rpartition(":")[2]


@pytest.fixture
def world(former: Path, tmp_path: Path) -> Iterator[World]:
    """The former release is installed."""
    with empty_cluster("upgrade", "kubetune-system", tmp_path) as found:
        chart = str(former / "charts/kubetune")
        found.shell.helm("install", chart, "--set", "maxRunningPerNamespace=1", *_tags("former"))
        found.shell.run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        found.kube.create("secret", store_secret())
        yield World(**vars(found))


def _tags(tag: str) -> list[str]:
    return [part for image in IMAGES for part in ("--set", f"images.{image}.tag={tag}")]


@pytest.mark.law("L6", "L9", "F2")
def test_an_upgrade_with_everything_under_way(world: World, former: Path, record_property: Record) -> None:
    upgrade = ("upgrade", str(CHART), "--reset-then-reuse-values")
    with answering(TRAINER_IP) as training, answering(EVALUATOR_IP, done=10, total=80, model="base") as measuring:
        with world.operator(former):
            begin(world)
        before, told = world.children(), world.statuses()

        def leaves_all_alone(root: Path, step: int, display: str) -> None:
            training.update(step=step)
            with world.operator(root):
                wait_progress(world, "finetunejob", "running", display)
                time.sleep(SETTLE_SECONDS)
                assert world.children() == before
                check(told, world.statuses())

        world.shell.helm(*upgrade, *_tags("next"))
        measuring.update(done=60)
        leaves_all_alone(ROOT, 40, "80% 40/50")
        told_now(world)
        world.shell.helm("rollback", "1")
        leaves_all_alone(former, 42, "84% 42/50")
        world.shell.helm(*upgrade, *_tags("next"))
        leaves_all_alone(ROOT, 44, "88% 44/50")
        world.shell.helm(*upgrade, "--set", "operator.logLevel=DEBUG")
        assert world.settings()["log_level"] == "DEBUG"
        leaves_all_alone(ROOT, 45, "90% 45/50")
        with world.operator(ROOT):
            finish(world)
            move(world)
    record_property(
        "point",
        f"helm upgrade from {FORMER}, back, once more, and with another log level: each time {len(before)} children of "
        f"{len(told)} objects left as they were (a training, a suspended, a queued, a checked and a finished one, two "
        "Evaluations, two served models), no condition changed; all came to their end, models moved with their spec",
    )


def begin(world: World) -> None:
    """Everything under way, by the operator that runs now."""
    kube, kubelet = world.kube, world.kubelet
    kube.create("finetunejob", finetunejob("done"))
    train(world, "done")
    kube.create("evaluation", evaluation("judged", candidate={"fineTuneJobRef": {"name": "done"}}))
    measure(world, "judged")

    kube.create("finetunejob", finetunejob("paused"))
    pod = kubelet.pod_of("paused-train")
    kubelet.run(pod)
    kube.wait_phase("finetunejob", "paused", "Running")
    kube.patch("finetunejob", "paused", {"spec": {"suspend": True}})
    wait_for(lambda: "deletionTimestamp" in kube.must("pod", pod)["metadata"], 15, lambda: "the pod is not stopped")
    kubelet.fail(pod, 75, failure_summary(75, "Preempted", SAVED))
    kube.wait_phase("finetunejob", "paused", "Suspended")
    kubelet.finish_deletion(pod)
    kube.wait_gone("pod", pod)

    kube.create("finetunejob", finetunejob("running", evaluation=EVALUATION))
    kubelet.run(kubelet.pod_of("running-train", PATIENCE), TRAINER_IP)
    kube.create("finetunejob", finetunejob("checked", preflight={}))
    kubelet.run(kubelet.pod_of("checked-preflight"))
    kube.create("finetunejob", finetunejob("queued"))
    kube.create("evaluation", evaluation("measured", **BY_URI))
    kubelet.run(kubelet.pod_of("measured-evaluate"), EVALUATOR_IP)

    proof = {"evaluationRef": {"name": "judged"}}
    kube.create(
        "modeldeployment", model_deployment("gated", model={"fineTuneJobRef": {"name": "done"}}, requireVerdict=proof)
    )
    kube.create("modeldeployment", model_deployment("plain", model={"uri": "s3://models/tiny"}, resources={"gpu": 1}))
    for name in ("gated", "plain"):
        pods = world.pods(name)
        pods.answer(pods.new())
        kube.wait_phase("modeldeployment", name, "Ready")
    kube.wait_phase("finetunejob", "checked", "Preflight")
    kube.wait_phase("finetunejob", "queued", "Queued")
    wait_progress(world, "finetunejob", "running", "62% 31/50")
    wait_progress(world, "evaluation", "measured", "12% 10/80")


def train(world: World, name: str) -> None:
    """The training's pod runs and leaves an adapter where the job's own folder is."""
    pod = world.kubelet.pod_of(f"{name}-train", PATIENCE)
    annotations = world.kube.must("job", f"{name}-train")["spec"]["template"]["metadata"]["annotations"]
    uri = f"{json.loads(annotations['kubetune.io/config'])['output']}/adapter"
    if world.kube.must("pod", pod)["status"].get("phase") != "Running":
        world.kubelet.run(pod)
    artifact = {"uri": uri, "kind": "adapter", "manifestSha256": "ab" * 32, "bytes": 1234}
    world.kubelet.succeed(pod, train_summary(artifact=artifact))
    status = world.kube.wait_phase("finetunejob", name, "Succeeded")
    assert (status["artifact"]["uri"], status["results"]["trainRows"]) == (uri, 100)


def measure(world: World, name: str) -> None:
    """The evaluation's pod runs and finds Go."""
    pod = world.kubelet.pod_of(f"{name}-evaluate")
    if world.kube.must("pod", pod)["status"].get("phase") != "Running":
        world.kubelet.run(pod)
    world.kubelet.succeed(pod, eval_summary())
    assert world.kube.wait_phase("evaluation", name, "Succeeded")["verdict"] == "Go"


def wait_progress(world: World, kind: str, name: str, display: str) -> None:
    wait_for(
        lambda: world.kube.status(kind, name).get("progress", {}).get("display") == display,
        15,
        lambda: f"{name} does not come to {display}: {world.kube.status(kind, name)}",
    )


def told_now(world: World) -> None:
    """What only the new operator tells: the image that waits until the user moves the model."""
    assert world.kube.status("evaluation", "measured")["progress"]["display"] == "75% 60/80"
    for name, image in (("gated", "server-cpu"), ("plain", "server")):
        waiting = world.kube.status("modeldeployment", name)["availableImage"]
        assert waiting == f"localhost/kubetune/{image}:next"


def check(before: Statuses, after: Statuses) -> None:
    """No status has changed but for progress and what the former release did not tell."""
    assert after.keys() == before.keys()
    for key, old in before.items():
        new = after[key]
        assert lasting(new) == lasting(old), key
        # Members come, and none goes.
        assert old.keys() <= new.keys(), key
        for member in ("artifact", "results", "verdict", "metrics", "report", "failure", "pods", "version", "endpoint"):
            assert new.get(member) == old.get(member), (key, member)
        if key[1] in {"done", "judged", "paused"}:
            assert new == old, key
    phases = {name: status["phase"] for (_, name), status in after.items()}
    assert phases == {
        "done": "Succeeded",
        "judged": "Succeeded",
        "paused": "Suspended",
        "running": "Running",
        "checked": "Preflight",
        "queued": "Queued",
        "measured": "Running",
        "gated": "Ready",
        "plain": "Ready",
    }


def lasting(status: Object) -> Object:
    """What stays as it was while nothing happens; a condition that had changed and changed back has a later time."""
    conditions = [
        {member: one[member] for member in ("type", "status", "reason", "lastTransitionTime")}
        for one in status["conditions"]
    ]
    members = ("phase", "attempts", "startTime", "completionTime", "observedGeneration", "ready", "readyReplicas")
    return {"conditions": conditions} | {member: status.get(member) for member in members}


def finish(world: World) -> None:
    """All that was under way comes to its end under the new operator, in the places there are."""
    kube, kubelet = world.kube, world.kubelet
    train(world, "running")
    assert kube.status("finetunejob", "running")["attempts"] == 1
    measure(world, "running")
    measure(world, "measured")
    kubelet.succeed(kubelet.pod_of("checked-preflight"), preflight_summary())
    for name in ("queued", "checked"):
        train(world, name)
        assert world.tag("job", f"{name}-train") == "next"
    job = kube.must("job", "paused-train")
    kube.patch("finetunejob", "paused", {"spec": {"suspend": False}})
    train(world, "paused")
    status = kube.status("finetunejob", "paused")
    assert (status["attempts"], "failure" in status) == (2, False)
    assert kube.must("job", "paused-train")["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.tag("job", "paused-train") == "former", "a run goes on as it began"


def move(world: World) -> None:
    """The served models take the new image with their spec: one beside the old pod, one in its place."""
    replace_pod(world, "gated", {"revision": "2"}, beside=True)
    replace_pod(world, "plain", {"engine": {"maxModelLen": 512}}, beside=False)


def replace_pod(world: World, name: str, change: Object, *, beside: bool) -> None:
    pods = world.pods(name)
    (old,) = pods.names()
    world.kube.patch("modeldeployment", name, {"spec": change})
    if not beside:
        wait_for(lambda: old not in pods.names(), 15, lambda: "the old pod stays")
        pods.stop_deleted()
    new = pods.new(old)
    assert world.tag("deployment", name) == "next"
    pods.answer(new)
    wait_for(lambda: pods.names() == [new], 15, lambda: "the old pod stays")
    status = world.kube.wait_phase("modeldeployment", name, "Ready")
    assert "availableImage" not in status
