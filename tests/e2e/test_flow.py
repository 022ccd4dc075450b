"""Train, evaluate, gate, serve, answer: the whole way, as in the demo but with the small model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_shared.artifacts import fetch, read_manifest
from kubetune_shared.store import Store
from tests.demo.ask import ask
from tests.demo.kube import Kube, Object, condition
from tests.demo.watch import deployment_line, evaluation_line, follow, job_line
from tests.smallmodel.example import QUESTION

from .conftest import Installation
from .resources import deployment, evaluation_template, fine_tune_job
from .trainings import tracked

NAME = "flow"
STEPS = 80
ITEMS = 48


@pytest.fixture(scope="module")
def job(installation: Installation, kube: Kube, namespace: str) -> Object:
    """The FineTuneJob when it has succeeded; the deployment behind its verdict waits meanwhile."""
    prefix = installation.prefix
    kube.apply(
        namespace,
        [
            fine_tune_job(NAME, prefix, STEPS, evaluation=evaluation_template(prefix, ITEMS)),
            deployment(NAME, {"fineTuneJobRef": {"name": NAME}}, NAME),
        ],
    )
    return follow(kube, namespace, "finetunejob", NAME, job_line, 600)


@pytest.fixture(scope="module")
def evaluation(kube: Kube, namespace: str, job: Object) -> Object:
    """The Evaluation that the job's success created, when it is done."""
    assert job["status"]["phase"] == "Succeeded"
    return follow(kube, namespace, "evaluation", NAME, evaluation_line, 600)


@pytest.fixture(scope="module")
def served(kube: Kube, namespace: str, evaluation: Object) -> Object:
    """The ModelDeployment when it is Ready."""
    assert evaluation["status"]["verdict"] == "Go"
    return follow(kube, namespace, "modeldeployment", NAME, deployment_line, 600)


@pytest.fixture(scope="module")
def url(kube: Kube, namespace: str, served: Object) -> Iterator[str]:
    """The OpenAI-compatible API, from outside the cluster."""
    with kube.forward(namespace, f"svc/{served['metadata']['name']}", 8000) as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_job_reports_what_it_did(job: Object) -> None:
    results = job["status"]["results"]
    assert results["steps"] == STEPS
    assert results["trainRows"] > 500
    assert results["trainLoss"] > 0
    assert len(results["datasetSHA256"]) == 64
    assert job["status"]["progress"]["display"] == f"100% {STEPS}/{STEPS}"


def test_preflight_said_beforehand_what_came_true(job: Object) -> None:
    found, results = job["status"]["preflight"], job["status"]["results"]
    assert condition(job, "Preflighted")["status"] == "True"
    assert (found["steps"], found["trainRows"] - found["droppedRows"]) == (STEPS, results["trainRows"])
    assert found["datasetSHA256"] == results["datasetSHA256"]
    assert found["tokenLengths"]["p50"] <= found["tokenLengths"]["max"]


def test_preflight_took_no_gpu_and_little_else(kube: Kube, namespace: str, job: Object) -> None:
    [pod] = kube.list(namespace, "pods", f"kubetune.io/finetunejob={NAME},app.kubernetes.io/component=preflight")
    assert pod["status"]["phase"] == "Succeeded"
    resources = pod["spec"]["containers"][0]["resources"]
    assert set(resources["limits"]) == {"memory", "ephemeral-storage"}
    assert resources["requests"]["cpu"] == "250m"
    assert job["status"]["attempts"] == 1


def test_settings_in_force_are_shown(job: Object) -> None:
    shown = job["status"]["effective"]
    assert shown["hyperparameters"]["maxSteps"] == STEPS
    assert (shown["lora"]["rank"], shown["hyperparameters"]["seed"]) == (16, 42)


def test_adapter_lies_in_the_store_as_its_manifest_says(job: Object, store: Store, tmp_path: Path) -> None:
    artifact = job["status"]["artifact"]
    assert artifact["kind"] == "adapter"
    found = read_manifest(store, artifact["uri"])
    assert found is not None
    assert found[1] == artifact["manifestSHA256"]
    assert fetch(store, artifact["uri"], tmp_path) == found[0]
    assert (tmp_path / "adapter_model.safetensors").stat().st_size > 0


def test_run_is_recorded_in_mlflow(kube: Kube, job: Object) -> None:
    run = tracked(kube, f"runs/get?run_id={job['status']['mlflowRunID']}")["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"] for metric in run["data"]["metrics"]}
    assert any("loss" in name for name in metrics)


def test_result_is_a_version_in_the_registry(namespace: str, job: Object) -> None:
    name, _, version = job["status"]["modelVersion"].partition("/")
    assert name == f"{namespace}.{NAME}"
    assert int(version) >= 1


def test_tuned_model_beats_its_base_with_the_interval_above_zero(evaluation: Object) -> None:
    status = evaluation["status"]
    assert status["n"] == ITEMS
    exact = next(one for one in status["metrics"] if one["metric"] == "exactMatch")
    assert exact["candidateValue"] > exact["baselineValue"]
    assert exact["low"] > 0
    assert status["verdict"] == "Go"


def test_evaluation_measured_what_the_job_made(job: Object, evaluation: Object) -> None:
    assert evaluation["status"]["candidate"]["adapterUri"] == job["status"]["artifact"]["uri"]
    [owner] = evaluation["metadata"]["ownerReferences"]
    assert owner["uid"] == job["metadata"]["uid"]


def test_report_lies_in_the_store(evaluation: Object, store: Store) -> None:
    uri = evaluation["status"]["report"]["uri"]
    report = json.loads(store.read(f"{uri}/report.json"))
    assert report
    assert b"<html" in store.read(f"{uri}/report.html").lower()


def test_deployment_says_how_it_is_reached(namespace: str, served: Object) -> None:
    assert served["status"]["endpoint"].startswith(f"http://{NAME}.{namespace}.svc.")
    assert served["status"]["modelName"] == NAME
    assert served["status"]["baseModelName"] == f"{NAME}-base"


def test_nothing_of_the_engine_is_reachable_from_outside(kube: Kube, namespace: str, served: Object) -> None:
    service = kube.get(namespace, "service", served["metadata"]["name"])
    assert service is not None
    assert service["spec"]["type"] == "ClusterIP"


def test_tuned_model_and_base_answer_differently(url: str, served: Object) -> None:
    tuned = ask(url, served["status"]["modelName"], QUESTION, 8)
    base = ask(url, served["status"]["baseModelName"], QUESTION, 8)
    assert tuned.strip()
    assert tuned != base


def test_tables_show_how_it_went(kube: Kube, namespace: str, served: Object) -> None:
    assert served
    tables = kube.run("get", "kubetune", "-n", namespace)
    assert f"100% {STEPS}/{STEPS}" in tables
    assert "Go" in tables
    assert "exactMatch" in tables
    assert f"http://{NAME}.{namespace}.svc." in tables


def test_secret_keys_appear_in_no_resource(
    kube: Kube, namespace: str, installation: Installation, served: Object
) -> None:
    assert served
    secret = kube.get(namespace, "secret", installation.settings.secret)
    assert secret is not None
    shown = kube.run("get", "kubetune,jobs,deployments,pods,events", "-n", namespace, "-o", "yaml")
    key = kube.run(
        "get", "secret", installation.settings.secret, "-n", namespace,
        "-o", "go-template={{.data.AWS_SECRET_ACCESS_KEY | base64decode}}",
    )  # fmt: skip
    assert key not in shown
    assert secret["data"]["AWS_SECRET_ACCESS_KEY"] not in shown
