"""The MLflow run of a job, through MLflow's own client into its own store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kubetune_contract import ExitCode, Owner, Tracking
from kubetune_trainer.tracking import Tracker
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


def test_a_job_is_one_run_however_often_it_starts(tracking: Tracking) -> None:
    for attempt in range(3):
        tracker = Tracker(tracking, OWNER)
        tracker.params({"method": "lora", "seed": 42})
        tracker.tags({"kubetune.dataset.sha256": "ab"})
        for step in range(1200):
            tracker.metrics({"loss": 1.0 / (step + 1), "nan": float("nan"), "text": "x"}, step + 1200 * attempt)
        tracker.finish("FINISHED" if attempt == 2 else "KILLED", seconds=120)
        assert tracker.run_id
    (run,) = runs(tracking)
    assert (run.info.run_name, run.info.status) == ("team/demo", "FINISHED")
    assert run.data.params == {"method": "lora", "seed": "42"}
    assert run.data.tags["kubetune.uid"] == "uid-1"
    assert run.data.tags["kubetune.dataset.sha256"] == "ab"
    history = MlflowClient(tracking_uri=tracking.uri).get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == list(range(3600))
    assert set(run.data.metrics) == {"loss"}


def test_without_tracking_nothing_happens() -> None:
    tracker = Tracker(None, OWNER)
    tracker.metrics({"loss": 1.0}, 1)
    tracker.finish("FINISHED")
    assert tracker.run_id is None


def test_the_run_of_a_training(jobs: Jobs, tracking: Tracking) -> None:
    job = jobs.job(tracking=tracking, dataset={"validation_share": 0.2})
    job.environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
    summary = job.both()
    (run,) = runs(tracking)
    assert run.info.run_id == summary["mlflowRunId"]
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.01"
    assert run.data.params["dataset_sha256"] == summary["datasetSha256"]
    assert run.data.tags["kubetune.artifact.uri"] == summary["artifact"]["uri"]
    assert run.data.metrics["final/train_loss"] == pytest.approx(summary["trainLoss"])
    assert {"loss", "grad_norm", "learning_rate", "eval_loss"} <= set(run.data.metrics)
    again = dataclasses.replace(job, folder=job.folder.with_name("again"))
    assert again.both()["mlflowRunId"] == summary["mlflowRunId"]
    assert len(runs(tracking)) == 1


def test_a_failed_training_is_a_failed_run(jobs: Jobs, tracking: Tracking) -> None:
    job = jobs.job([{"prompt": "say " * 80, "completion": "x"}], tracking=tracking)
    job.environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
    assert job.run("prepare") == 0
    assert job.run("train") == ExitCode.BAD_DATA
    assert [run.info.status for run in runs(tracking)] == ["FAILED"]
