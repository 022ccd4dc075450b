"""FineTuneJobs and Evaluations brought to their end by playing the kubelet, for tests of what depends on them."""

from __future__ import annotations

import json
from typing import Any

from .kube import Kube, Kubelet, now, wait_for
from .objects import finetunejob, train_summary

Object = dict[str, Any]

API_VERSION = "kubetune.io/v1alpha1"
ARTIFACT = "s3://kubetune/jobs/demo/adapter"


def evaluation(name: str = "demo", /, **spec: Any) -> Object:
    """An Evaluation of FineTuneJob ``demo`` with a gate; keywords replace members of its spec."""
    base: Object = {
        "candidate": {"fineTuneJobRef": {"name": "demo"}},
        "dataset": {"uri": "s3://data/test.jsonl"},
        "metrics": ["exactMatch"],
        "gate": {"metric": "exactMatch"},
    }
    return {"apiVersion": API_VERSION, "kind": "Evaluation", "metadata": {"name": name}, "spec": base | spec}


def model_deployment(name: str = "demo", /, **spec: Any) -> Object:
    """A ModelDeployment of FineTuneJob ``demo``; keywords replace members of its spec."""
    base: Object = {"model": {"fineTuneJobRef": {"name": "demo"}}}
    return {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": base | spec}


def eval_summary(verdict: str | None = "Go", **members: Any) -> str:
    """An evaluator's termination message on success."""
    result = {
        "metric": "exactMatch",
        "baseline": "base",
        "candidateValue": 0.41,
        "baselineValue": 0.0,
        "difference": 0.41,
        "low": 0.34,
        "high": 0.48,
        "n": 200,
        "unscored": 0,
        "method": "skew-t",
        "pValue": 0.0,
    }
    summary: Object = {
        "schema": 1,
        "results": [result],
        "report": {"uri": "s3://kubetune/report", "kind": "report", "manifestSha256": "cd" * 32, "bytes": 10},
        "n": 200,
        "durationSeconds": 12.5,
        "verdict": verdict,
        "verdictMessage": "exactMatch is +0.41 [0.34, 0.48] against base.",
        "datasetSha256": "ef" * 32,
    }
    return json.dumps({key: value for key, value in (summary | members).items() if value is not None})


def train(kube: Kube, kubelet: Kubelet, name: str = "demo", artifact: str = ARTIFACT) -> None:
    """A FineTuneJob that has succeeded and published an adapter at ``artifact``."""
    kube.create("finetunejob", finetunejob(name))
    finish_training(kube, kubelet, name, artifact)


def finish_training(kube: Kube, kubelet: Kubelet, name: str = "demo", artifact: str = ARTIFACT) -> None:
    """The FineTuneJob's pod runs and succeeds."""
    pod = kubelet.pod_of(f"{name}-train")
    kubelet.run(pod)
    published = {"uri": artifact, "kind": "adapter", "manifestSha256": "ab" * 32, "bytes": 1234}
    kubelet.succeed(pod, train_summary(artifact=published))
    kube.wait_phase("finetunejob", name, "Succeeded")


def remove(kube: Kube, kubelet: Kubelet, kind: str, name: str, job: str) -> None:
    """Deletes a custom resource and waits until its Job and pods are gone, too.

    The garbage collector learns of new CRDs every 30 seconds only.
    """
    kube.delete(kind, name)
    kube.wait_gone(kind, name)
    kube.wait_gone("job", job, seconds=60)

    def is_gone() -> bool:
        mine = [
            pod
            for pod in kube.list("pod")
            if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == job
        ]
        for pod in mine:
            if "deletionTimestamp" in pod["metadata"]:
                kubelet.finish_deletion(pod["metadata"]["name"])
        return not mine

    wait_for(is_gone, 60, lambda: f"pods of Job {job} stay")


def evaluate(kube: Kube, kubelet: Kubelet, verdict: str, name: str = "demo", job: str = "demo") -> None:
    """An Evaluation of FineTuneJob ``job`` that has ended with ``verdict``."""
    _measure(kube, kubelet, evaluation(name, candidate={"fineTuneJobRef": {"name": job}}), eval_summary(verdict))


def evaluate_folder(kube: Kube, kubelet: Kubelet, name: str, uri: str, content: str, verdict: str = "Go") -> None:
    """An Evaluation of a model's folder that has ended with ``verdict`` and told that it held ``content``."""
    wanted = evaluation(name, candidate={"uri": uri}, baselines=[{"name": "base", "uri": "s3://models/base"}])
    _measure(kube, kubelet, wanted, eval_summary(verdict, candidate={"model": content}))


def _measure(kube: Kube, kubelet: Kubelet, wanted: Object, summary: str) -> None:
    name = wanted["metadata"]["name"]
    kube.create("evaluation", wanted)
    pod = kubelet.pod_of(f"{name}-evaluate")
    kubelet.run(pod)
    kubelet.succeed(pod, summary)
    kube.wait_phase("evaluation", name, "Succeeded")


class ServerPods:
    """Plays the kubelet for the pods of one ModelDeployment."""

    def __init__(self, kube: Kube, kubelet: Kubelet, name: str = "demo") -> None:
        self.kube = kube
        self.kubelet = kubelet
        self.name = name

    def names(self) -> list[str]:
        """Pods that are not being deleted, oldest first."""
        found = [
            pod
            for pod in self.kube.list("pod")
            if pod["metadata"].get("labels", {}).get("kubetune.io/modeldeployment") == self.name
            and "deletionTimestamp" not in pod["metadata"]
        ]
        return [pod["metadata"]["name"] for pod in sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])]

    def new(self, *known: str, seconds: float = 15) -> str:
        """A pod other than ``known``, once the ReplicaSet has made it."""
        found = wait_for(
            lambda: [name for name in self.names() if name not in known],
            seconds,
            lambda: f"ModelDeployment {self.name} has no new pod",
        )
        return found[0]

    def answer(self, pod: str) -> None:
        """Fetched, loaded, ready."""
        if not self.kube.must("pod", pod)["spec"].get("nodeName"):
            self.kubelet.schedule(pod)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now()}
        fetched = _container("fetch", {"terminated": {"exitCode": 0, "reason": "Completed"}})
        engine = _container("engine", {"running": {"startedAt": now()}}, ready=True, started=True)
        self.kubelet.write(
            pod,
            phase="Running",
            startTime=now(),
            conditions=[ready],
            initContainerStatuses=[fetched],
            containerStatuses=[engine],
        )

    def crash(self, pod: str, container: str, code: int, message: str, restarts: int = 1) -> None:
        """The container has died ``restarts`` times and waits for its next start."""
        if not self.kube.must("pod", pod)["spec"].get("nodeName"):
            self.kubelet.schedule(pod)
        dead = {"terminated": {"exitCode": code, "reason": "Error", "message": message}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
        status = _container(container, waiting, lastState=dead, restartCount=restarts)
        if container == "fetch":
            self.kubelet.write(pod, startTime=now(), initContainerStatuses=[status])
        else:
            fetched = _container("fetch", {"terminated": {"exitCode": 0, "reason": "Completed"}})
            self.kubelet.write(pod, startTime=now(), initContainerStatuses=[fetched], containerStatuses=[status])

    def stop_deleted(self) -> None:
        """Pods on a node are gone only when their kubelet says so."""
        for pod in self.kube.list("pod"):
            if "deletionTimestamp" in pod["metadata"]:
                self.kubelet.finish_deletion(pod["metadata"]["name"])


def _container(name: str, state: Object, **members: Any) -> Object:
    base: Object = {"name": name, "image": "image", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return base | members
