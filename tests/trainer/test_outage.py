"""The object store or the tracking server goes away for a while: training goes on and nothing is missing afterwards."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.store.tracking.file_store import FileStore

from kubetune_contract import ExitCode, Tracking
from kubetune_trainer.checkpoints.shelf import Folder, complete
from tests.support.mlflow_server import SwitchableMlflow
from tests.support.points import Record
from tests.support.s3 import SwitchableS3
from tests.support.training import Jobs, upload

from .attempts import another, losses, undisturbed, wait_for, wait_for_checkpoint, weights

MANY = 1000
"""Steps: several times those in the seconds after which the tracker is tried again, also on a fast machine."""


@pytest.fixture
def switch(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SwitchableS3]:
    """A store of this test's own."""
    made = SwitchableS3(tmp_path / "store")
    for bucket in ("models", "data", "out"):
        made.server.make_bucket(bucket)
    upload(made.server, base, "s3://models/tiny")
    for name, value in made.server.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.off()


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SwitchableMlflow]:
    """A tracking server of this test's own, which answers."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    made = SwitchableMlflow(tmp_path / "mlflow")
    made.on()
    yield made
    made.off()


def curve(tracker: SwitchableMlflow, run_id: str, name: str) -> dict[int, str]:
    """A metric as the server has it: every step once, in order."""
    points = FileStore(str(tracker.folder)).get_metric_history(run_id, name)
    assert [point.step for point in points] == sorted({point.step for point in points})
    return {point.step: f"{point.value:.9g}" for point in points}


@pytest.mark.training
def test_a_tracking_server_away_in_the_middle_and_at_the_end(
    jobs: Jobs, tracker: SwitchableMlflow, record_property: Record
) -> None:
    job = jobs.job(
        tracking=Tracking(tracker.uri, "tests"),
        hyperparameters={"max_steps": MANY, "save_steps": 200, "logging_steps": 1, "gradient_accumulation_steps": 4},
    )
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    job.wait_for_step(process, 20)
    tracker.off()
    wait_for(job, process, "tracking server does not take the run's data yet, training goes on")
    away_since = job.progress()["step"]
    job.wait_for_step(process, away_since + 40)
    tracker.on()
    job.wait_for_step(process, away_since + 120)
    tracker.off()
    wait_for(job, process, "/adapter: ", seconds=400)
    time.sleep(2)
    assert process.poll() is None, job.log
    tracker.on()
    assert process.wait(180) == 0, job.log
    logged = {step: value for (name, step), value in losses(job).items() if name == "loss"}
    assert len(logged) == MANY
    assert curve(tracker, job.termination["mlflowRunId"], "loss") == logged
    record_property(
        "point", f"tracker away in the middle and at the end: trained on, all {MANY} points of the curve there"
    )


@pytest.mark.training
def test_a_curve_has_no_gap_after_a_kill(jobs: Jobs, tracker: SwitchableMlflow) -> None:
    """What a killed pod had not sent comes from its checkpoint; what was trained twice is there once."""
    job = jobs.job(
        tracking=Tracking(tracker.uri, "tests"),
        hyperparameters={"max_steps": 120, "save_steps": 20, "logging_steps": 1},
    )
    assert job.run("prepare") == 0, job.log
    first, second = another(job, "first"), another(job, "second")
    process = first.start("train")
    wait_for_checkpoint(first, process, after=20)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert second.run("train") == 0, second.log
    logged = {step: value for (name, step), value in losses(first, second).items() if name == "loss"}
    assert len(logged) == 120
    assert curve(tracker, second.termination["mlflowRunId"], "loss") == logged


def test_a_store_away_in_the_middle_and_at_the_end(
    switch: SwitchableS3, tmp_path: Path, record_property: Record
) -> None:
    jobs = Jobs(switch.server, tmp_path)
    job = jobs.job(hyperparameters={"max_steps": 400, "save_steps": 25, "logging_steps": 1})
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    wait_for_checkpoint(job, process)
    switch.off()
    away_since = job.progress()["step"]
    wait_for(job, process, "training goes on and it is sent later")
    job.wait_for_step(process, away_since + 40)
    switch.on()
    later = wait_for_checkpoint(job, process, after=away_since)
    assert later["step"] < 400
    switch.off()
    wait_for(job, process, "publishing must wait", seconds=400)
    assert job.progress()["phase"] == "waiting for the store"
    time.sleep(1)
    switch.on()
    assert process.wait(180) == 0, job.log
    assert job.termination["steps"] == 400
    assert jobs.store.list(f"{job.config.output}/checkpoints") == []
    whole = undisturbed(job)
    assert losses(job) == losses(whole)
    assert weights(jobs, job.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    record_property(
        "point", "store away in the middle and at the end: trained on, sent later, published, bitwise equal"
    )


@pytest.mark.training
def test_a_checkpoint_of_an_outage_is_sent_without_waiting_for_the_next(switch: SwitchableS3, tmp_path: Path) -> None:
    jobs = Jobs(switch.server, tmp_path)
    job = jobs.job(
        hyperparameters={"max_steps": 100_000, "save_steps": 300, "save_minutes": 0.0, "logging_steps": 1000}
    )
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    job.wait_for_step(process, 1)
    switch.off()
    wait_for(job, process, "training goes on and it is sent later")
    switch.on()
    seen = wait_for_checkpoint(job, process)
    assert (seen["lastCheckpoint"], seen["step"] < 600) == (300, True)
    process.kill()
    process.wait(30)


@pytest.mark.training
def test_a_store_that_stays_away_costs_the_tail_only(
    switch: SwitchableS3, tmp_path: Path, record_property: Record
) -> None:
    jobs = Jobs(switch.server, tmp_path)
    job = jobs.job(hyperparameters={"max_steps": 160, "save_steps": 20, "save_minutes": 0.0, "logging_steps": 1})
    assert job.run("prepare") == 0, job.log
    first = another(job, "first")
    first.environment = {**job.environment, "KUBETUNE_STORE_PATIENCE": "3"}
    process = first.start("train")
    wait_for_checkpoint(first, process, after=40)
    switch.off()
    assert process.wait(300) == ExitCode.UNAVAILABLE, first.log
    assert first.termination["reason"] == "StoreUnavailable"
    switch.on()
    (newest, *_) = complete(Folder(jobs.store, f"{job.config.output}/checkpoints"))
    second = another(job, "second")
    assert second.run("train") == 0, second.log
    assert f"going on from the checkpoint of step {newest.step}" in second.log
    whole = undisturbed(job)
    assert losses(first, second) == losses(whole)
    assert weights(jobs, second.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    record_property("point", f"store away for good: exit 69, next attempt redid {160 - newest.step} of 160 steps")


def test_a_store_that_is_away_at_the_start_is_waited_for(switch: SwitchableS3, tmp_path: Path) -> None:
    jobs = Jobs(switch.server, tmp_path)
    job = jobs.job()
    assert job.run("prepare") == 0, job.log
    switch.off()
    process = job.start("train")
    wait_for(job, process, "taking charge of the run must wait")
    switch.on()
    assert process.wait(180) == 0, job.log


def test_a_store_away_when_asked_to_go(switch: SwitchableS3, tmp_path: Path, record_property: Record) -> None:
    jobs = Jobs(switch.server, tmp_path)
    job = jobs.job(hyperparameters={"max_steps": 5000, "save_steps": 20, "logging_steps": 1})
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    wait_for_checkpoint(job, process)
    switch.off()
    process.terminate()
    began = time.monotonic()
    assert process.wait(120) == ExitCode.PREEMPTED, job.log
    assert time.monotonic() - began > 15
    assert "the last checkpoint is lost with this pod" in job.log
    assert "goes on from the checkpoint of step" in job.termination["message"]
    record_property("point", "store away at SIGTERM: waited 20 s for it, exit 75, an older checkpoint named")
