"""The object store and the tracking server go away under a training: it goes on, and nothing is missing afterwards."""

from __future__ import annotations

import pytest

from kubetune_shared.artifacts import read_manifest
from tests.demo.environment import SYSTEM_NAMESPACE
from tests.demo.kube import Kube
from tests.demo.seed import connect
from tests.support.points import Record

from .conftest import Installation
from .resources import fine_tune_job
from .trainings import SECONDS, pods, step, succeeded, tracked, training

STEPS = 300
SAVE_EVERY = 20
"""Steps between checkpoints: several are due while the store is away."""
AWAY = 60
"""Steps for which both are away."""
COMPONENTS = ("kubetune-object-store", "kubetune-mlflow")


def deployments(kube: Kube) -> list[str]:
    """Names of the store's and the tracking server's Deployments."""
    found = kube.list(SYSTEM_NAMESPACE, "deployments")
    return [
        one["metadata"]["name"] for one in found if one["metadata"]["labels"]["app.kubernetes.io/name"] in COMPONENTS
    ]


def scale(kube: Kube, names: list[str], replicas: int) -> None:
    """Returns once the pods are gone, or there again and ready."""
    for name in names:
        kube.run("scale", "deployment", name, "-n", SYSTEM_NAMESPACE, f"--replicas={replicas}")

    def done() -> bool:
        found = [kube.get(SYSTEM_NAMESPACE, "deployment", name) or {} for name in names]
        return all(one.get("status", {}).get("readyReplicas", 0) == replicas for one in found)

    kube.wait(f"{' and '.join(names)} have {replicas} ready replicas", done, SECONDS)


@pytest.mark.training
def test_both_away_in_the_middle(
    kube: Kube, namespace: str, installation: Installation, record_property: Record
) -> None:
    wanted = fine_tune_job("outage", installation.prefix, STEPS)
    wanted["spec"]["hyperparameters"] |= {"saveSteps": SAVE_EVERY, "loggingSteps": 1}
    kube.apply(namespace, [wanted])
    training(kube, namespace, "outage")
    names = deployments(kube)
    assert len(names) == len(COMPONENTS)
    scale(kube, names, 0)
    try:
        before = step(kube, namespace, "outage")
        kube.wait("it trains on", lambda: step(kube, namespace, "outage") >= before + AWAY, SECONDS)
        [pod] = pods(kube, namespace, "outage")
        log = kube.run("logs", pod["metadata"]["name"], "-n", namespace, "-c", "train")
    finally:
        scale(kube, names, 1)
    assert "tracking server does not take the run's data yet, training goes on" in log
    job = succeeded(kube, namespace, "outage")
    assert [pod["metadata"]["uid"] for pod in pods(kube, namespace, "outage")] == [pod["metadata"]["uid"]]
    assert job["status"]["attempts"] == 1
    run_id = job["status"]["mlflowRunID"]
    points = tracked(kube, f"metrics/get-history?run_id={run_id}&metric_key=loss&max_results=10000")["metrics"]
    assert [point["step"] for point in points] == list(range(1, STEPS + 1))
    with connect(kube, installation.settings) as store:
        assert read_manifest(store, job["status"]["artifact"]["uri"]) is not None
    record_property(
        "point",
        f"MLflow and the store away from step {before} for {AWAY} steps, real pods: trained on in the same pod, all "
        f"{STEPS} points of the curve and the artifact there afterwards",
    )
