"""The MLflow run of a job, through MLflow's own client into its own store."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kubetune_contract import ExitCode, Owner, Tracking
from kubetune_trainer.tracking.tracked import Data, Version
from kubetune_trainer.tracking.tracker import Tracker
from tests.support.points import Record
from tests.support.training import Jobs

OWNER = Owner("team", "demo", "uid-1")


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return Tracking(f"file://{tmp_path / 'mlruns'}", "tests")


def runs(tracking: Tracking) -> list[Any]:
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_job_is_one_run_however_often_it_starts(tracking: Tracking, record_property: Record) -> None:
    for attempt in range(3):
        tracker = Tracker(tracking, OWNER)
        tracker.params({"method": "lora", "seed": 42})
        tracker.tags({"kubetune.dataset.sha256": "ab"})
        # The second and the third attempt repeat steps, as those that go on from a checkpoint do.
        for step in range(max(0, 1000 * attempt), 1200 + 1000 * attempt):
            tracker.metrics({"loss": 1.0 / (step + 1), "nan": float("nan"), "text": "x"}, step)
        tracker.finish("FINISHED" if attempt == 2 else "KILLED", seconds=120)
        assert tracker.run_id
    (run,) = runs(tracking)
    assert (run.info.run_name, run.info.status) == ("team/demo", "FINISHED")
    assert run.data.params == {"method": "lora", "seed": "42"}
    assert run.data.tags["kubetune.uid"] == "uid-1"
    assert run.data.tags["kubetune.dataset.sha256"] == "ab"
    history = MlflowClient(tracking_uri=tracking.uri).get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == list(range(3200))
    assert [point.value for point in history] == [1.0 / (step + 1) for step in range(3200)]
    assert set(run.data.metrics) == {"loss"}
    record_property(
        "point", "MLflow: 3 attempts that repeat 400 steps, one run, 3200 points, no step twice or backwards"
    )


def test_a_job_registers_one_version(tracking: Tracking, record_property: Record) -> None:
    version = Version("support-bot", "s3://out/uid-1/adapter", {"kubetune.dataset.sha256": "ab" * 32})
    for _ in range(2):
        tracker = Tracker(tracking, OWNER)
        tracker.data(Data("s3://data/rows.jsonl", "ab" * 32, 90, 10))
        tracker.register(version)
        tracker.finish("FINISHED", seconds=120)
        assert tracker.model_version == "support-bot/1"
    other = Tracker(tracking, dataclasses.replace(OWNER, uid="uid-2"))
    other.register(dataclasses.replace(version, source="s3://out/uid-2/adapter"))
    other.finish("FINISHED", seconds=120)
    assert other.model_version == "support-bot/2"
    client = MlflowClient(tracking_uri=tracking.uri)
    first = client.get_model_version("support-bot", "1")
    assert (first.source, first.run_id) == ("s3://out/uid-1/adapter", tracker.run_id)
    assert first.tags["kubetune.dataset.sha256"] == "ab" * 32
    (run,) = [run for run in runs(tracking) if run.info.run_id == tracker.run_id]
    (data,) = [found.dataset for found in run.inputs.dataset_inputs]
    assert (data.name, data.digest) == ("rows.jsonl", ("ab" * 32)[:36])
    record_property(
        "point", "MLflow registry: two attempts of a job register one version, with run, source and lineage"
    )


def test_a_name_the_registry_refuses_costs_the_version_only(tracking: Tracking) -> None:
    tracker = Tracker(tracking, OWNER)
    tracker.metrics({"loss": 1.0}, 1)
    tracker.register(Version("no/such:name", "s3://out/uid-1/adapter", {}))
    tracker.finish("FINISHED", seconds=60)
    assert tracker.model_version is None
    assert "no/such:name" in tracker.troubles[0].message
    assert [run.info.status for run in runs(tracking)] == ["FINISHED"]


@pytest.mark.walk("W1")
def test_what_the_server_refuses_costs_neither_curve_nor_version(
    tracking: Tracking, caplog: pytest.LogCaptureFixture, record_property: Record
) -> None:
    first = Tracker(tracking, OWNER, "sha")
    first.params({"method": "lora", "dataset_sha256": "old"})
    first.metrics({"loss": 2.0}, 1)
    first.finish("KILLED", seconds=60)
    caplog.set_level("INFO")
    second = Tracker(tracking, OWNER, "sha")
    second.params({"method": "lora", "dataset_sha256": "new", "seed": 7})
    second.metrics({"loss": 1.0}, 2)
    second.register(Version("demo", "s3://out/uid-1/adapter", {}))
    second.finish("FINISHED", seconds=60)
    (run,) = runs(tracking)
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 1.0)
    assert run.data.params == {"method": "lora", "dataset_sha256": "old", "seed": "7"}
    assert second.model_version == "demo/1"
    (trouble,) = second.troubles
    assert trouble.reason == "TrackerRefused"
    assert "dataset_sha256" in trouble.message
    assert "seed" not in trouble.message
    assert f"MLflow has this run as team/demo ({run.info.run_id})" in caplog.text
    record_property("point", f"MLflow refuses a parameter: curve, end and model version are there; {trouble.message}")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_deleted_experiment_is_restored(
    tracking: Tracking, when: str, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    """MLflow lets nobody make another of its name, so the curve would be lost for good."""
    monkeypatch.setattr("kubetune_trainer.tracking.tracker.FLUSH_SECONDS", 0.1)
    client = MlflowClient(tracking_uri=tracking.uri)
    if when == "before":
        client.delete_experiment(client.create_experiment(tracking.experiment))
    tracker = Tracker(tracking, OWNER, "sha")
    tracker.params({"method": "lora"})
    tracker.metrics({"loss": 2.0}, 1)
    if when == "meanwhile":
        wait_until(lambda: tracker.run_id is not None and client.get_run(tracker.run_id).data.metrics)
        client.delete_experiment(runs(tracking)[0].info.experiment_id)
    tracker.metrics({"loss": 1.0}, 2)
    tracker.finish("FINISHED", seconds=60)
    (run,) = runs(tracking)
    assert (run.info.status, run.data.params) == ("FINISHED", {"method": "lora"})
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0)]
    assert tracker.troubles == ()
    record_property("point", f"MLflow experiment deleted {when}: restored, one run, the whole curve")


def wait_until(found: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.walk("W1")
def test_another_configuration_of_a_job_is_another_run(tracking: Tracking) -> None:
    for config, rate in (("one", 1), ("two", 2), ("two", 2)):
        tracker = Tracker(tracking, OWNER, config)
        tracker.params({"learning_rate": rate})
        tracker.metrics({"loss": 1.0}, 1)
        tracker.pause(60) if config == "one" else tracker.finish("FINISHED", seconds=60)
        assert tracker.troubles == ()
    assert {run.data.params["learning_rate"]: run.info.status for run in runs(tracking)} == {
        "1": "KILLED",
        "2": "FINISHED",
    }


@pytest.mark.walk("C24")
def test_no_address_that_only_pods_can_open_is_printed(tracking: Tracking, capfd: pytest.CaptureFixture[str]) -> None:
    Tracker(tracking, OWNER).finish("FINISHED", seconds=60)
    assert "View run" not in capfd.readouterr().out


def test_without_tracking_nothing_happens() -> None:
    tracker = Tracker(None, OWNER)
    tracker.metrics({"loss": 1.0}, 1)
    tracker.finish("FINISHED")
    assert tracker.run_id is None


def test_the_run_of_a_training(jobs: Jobs, tracking: Tracking) -> None:
    tracking = dataclasses.replace(tracking, registered_model="demo")
    job = jobs.job(
        tracking=tracking, dataset={"validation_share": 0.2}, image="registry/trainer@sha256:ab", preset="code"
    )
    job.environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
    summary = job.both()
    (run,) = runs(tracking)
    assert run.info.run_id == summary["mlflowRunId"]
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.01"
    assert run.data.params["dataset_sha256"] == summary["datasetSha256"]
    assert run.data.params["preset"] == "code"
    assert run.data.params["recovery_loss_sigmas"] == "8.0"
    assert run.data.tags["kubetune.artifact.uri"] == summary["artifact"]["uri"]
    assert run.data.tags["kubetune.image"] == "registry/trainer@sha256:ab"
    assert len(run.data.tags["kubetune.code.sha256"]) == 64
    assert run.data.tags["kubetune.hardware"].startswith("CPU: ")
    assert run.inputs.dataset_inputs[0].dataset.digest == summary["datasetSha256"][:36]
    assert summary["modelVersion"] == "demo/1"
    version = MlflowClient(tracking_uri=tracking.uri).get_model_version("demo", "1")
    assert (version.source, version.run_id) == (summary["artifact"]["uri"], run.info.run_id)
    assert version.tags["kubetune.uid"] == job.config.owner.uid
    assert run.data.metrics["final/train_loss"] == pytest.approx(summary["trainLoss"])
    assert {"loss", "grad_norm", "learning_rate", "eval_loss"} <= set(run.data.metrics)
    again = dataclasses.replace(job, folder=job.folder.with_name("again"))
    repeated = again.both()
    assert (repeated["mlflowRunId"], repeated["modelVersion"]) == (summary["mlflowRunId"], "demo/1")
    assert len(runs(tracking)) == 1


def test_a_failed_training_is_a_failed_run(jobs: Jobs, tracking: Tracking) -> None:
    job = jobs.job([{"prompt": "say " * 80, "completion": "x"}], tracking=tracking)
    job.environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
    assert job.run("prepare") == 0
    assert job.run("train") == ExitCode.BAD_DATA
    assert [run.info.status for run in runs(tracking)] == ["FAILED"]


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"}, "Basic bWU6c2VjcmV0"),
        ({"MLFLOW_TRACKING_TOKEN": "t0ken"}, "Bearer t0ken"),
        ({}, None),
    ],
    ids=["password", "token", "nothing"],
)
def test_the_secrets_keys_open_the_server(
    variables: dict[str, str], header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod's environment has them from the Secret (spec.tracking.secret); MLflow's own client reads them there."""
    seen: set[str | None] = set()

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.add(self.headers["Authorization"])
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(MlflowException):
            client.get_experiment_by_name("x")
        server.shutdown()
    assert seen == {header}
