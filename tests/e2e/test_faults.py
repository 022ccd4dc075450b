"""A run survives the death of the operator and of its own pod, and a namespace takes everything with it."""

from __future__ import annotations

import re

from tests.demo.kube import Kube, Object

from .conftest import Installation
from .resources import fine_tune_job
from .trainings import SECONDS, pods, succeeded, training

LONG = 100
"""Steps: enough that the fault strikes in the middle."""
SAVE_EVERY = 20
"""Steps between checkpoints."""


def operators(kube: Kube) -> list[Object]:
    """The operator's pods."""
    return kube.list("kubetune", "pods", "app.kubernetes.io/name=kubetune-operator")


def test_run_goes_on_while_the_operator_is_killed(kube: Kube, namespace: str, installation: Installation) -> None:
    kube.apply(namespace, [fine_tune_job("orphan", installation.prefix, LONG)])
    training(kube, namespace, "orphan")
    [before] = pods(kube, namespace, "orphan")
    killed = {pod["metadata"]["uid"] for pod in operators(kube)}
    assert killed
    kube.run(
        "delete",
        "pod",
        "-n",
        "kubetune",
        "-l",
        "app.kubernetes.io/name=kubetune-operator",
        "--grace-period=0",
        "--force",
    )
    job = succeeded(kube, namespace, "orphan")
    [after] = pods(kube, namespace, "orphan")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert job["status"]["attempts"] == 1
    assert job["status"]["results"]["steps"] == LONG
    assert job["status"]["progress"]["display"] == f"100% {LONG}/{LONG}"
    assert killed.isdisjoint(pod["metadata"]["uid"] for pod in operators(kube))


def test_deleted_trainer_pod_is_replaced_by_one_that_goes_on_where_it_stopped(
    kube: Kube, namespace: str, installation: Installation
) -> None:
    wanted = fine_tune_job("retried", installation.prefix, LONG)
    wanted["spec"]["hyperparameters"]["saveSteps"] = SAVE_EVERY
    kube.apply(namespace, [wanted])
    seen = training(kube, namespace, "retried")
    [first] = pods(kube, namespace, "retried")
    kube.run("delete", "pod", first["metadata"]["name"], "-n", namespace, "--wait=false")
    job = succeeded(kube, namespace, "retried")
    assert job["status"]["results"]["steps"] == LONG
    # Not status.attempts: the Job counts no pod that its failure policy ignores, and a deleted one is in no list.
    [second] = [pod for pod in pods(kube, namespace, "retried") if pod["status"]["phase"] == "Succeeded"]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    log = kube.run("logs", second["metadata"]["name"], "-n", namespace, "-c", "train")
    resumed = re.search(r"going on from the checkpoint of step (\d+)", log)
    assert resumed, log
    # Asked to stop, the first saved the step it was at, no earlier than the one last seen.
    assert seen <= int(resumed[1]) < LONG


def test_deleted_job_takes_its_pod_along(kube: Kube, namespace: str, installation: Installation) -> None:
    kube.apply(namespace, [fine_tune_job("dropped", installation.prefix, LONG)])
    kube.wait("the pod exists", lambda: pods(kube, namespace, "dropped"), SECONDS)
    kube.run("delete", "finetunejob", "dropped", "-n", namespace)
    kube.wait("the pod is gone", lambda: not pods(kube, namespace, "dropped"), SECONDS)
    assert not kube.list(namespace, "jobs", "kubetune.io/finetunejob=dropped")


def test_deleted_namespace_leaves_nothing(kube: Kube, installation: Installation) -> None:
    name = "e2e-gone"
    kube.make_namespace(name)
    kube.copy_secret(installation.settings.secret, "kubetune", name)
    kube.apply(name, [fine_tune_job("vanishing", installation.prefix, LONG)])
    kube.wait("the pod exists", lambda: pods(kube, name, "vanishing"), SECONDS)
    kube.run("delete", "namespace", name, "--wait", timeout=300)
    assert kube.get(name, "namespace", name) is None
    for kind in ("finetunejobs", "evaluations", "modeldeployments", "jobs", "pods", "services", "deployments"):
        assert not [found for found in kube.list(None, kind) if found["metadata"]["namespace"] == name]
