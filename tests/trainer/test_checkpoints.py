"""Checkpoints: a killed run goes on from the last whole one and ends exactly where it would have ended."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Lora
from kubetune_shared.artifacts import fetch
from kubetune_shared.manifest import describe
from kubetune_trainer.checkpoints import Folder, complete
from tests.support.training import Jobs, Trainer

HYPER = {"max_steps": 60, "save_steps": 10, "logging_steps": 1}


def weights(jobs: Jobs, summary: dict[str, Any], folder: Path) -> str:
    fetch(jobs.store, summary["artifact"]["uri"], folder)
    return next(entry.sha256 for entry in describe(folder) if entry.path == "adapter_model.safetensors")


def killed_after(jobs: Jobs, number: signal.Signals, **changes: Any) -> Trainer:
    """A job whose first attempt was ended by ``number`` once a checkpoint was in the store."""
    job = jobs.job(lora=Lora(rank=4, alpha=8, dropout=0.1), hyperparameters=HYPER | changes)
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    while not job.progress().get("lastCheckpoint"):
        assert process.poll() is None, job.log
    process.send_signal(number)
    expected = ExitCode.PREEMPTED if number == signal.SIGTERM else -number
    assert process.wait(60) == expected, job.log
    return job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_resumed_equals_uninterrupted(jobs: Jobs, tmp_path: Path, number: signal.Signals) -> None:
    job = killed_after(jobs, number)
    again = dataclasses.replace(job, folder=job.folder.with_name("again"))
    resumed = again.both()
    assert "going on from the checkpoint of step" in again.log
    assert resumed["steps"] == 60
    whole = dataclasses.replace(
        job, folder=job.folder.with_name("whole"), config=dataclasses.replace(job.config, output="s3://out/whole")
    )
    uninterrupted = whole.both()
    assert weights(jobs, resumed, tmp_path / "a") == weights(jobs, uninterrupted, tmp_path / "b")
    assert resumed["trainLoss"] == pytest.approx(uninterrupted["trainLoss"])
    assert jobs.store.list(f"{job.config.output}/checkpoints") == []


def test_a_damaged_checkpoint_is_passed_over(jobs: Jobs) -> None:
    job = killed_after(jobs, signal.SIGTERM, max_steps=5000)
    folder = f"{job.config.output}/checkpoints"
    found = complete(Folder(jobs.store, folder))
    assert len(found) <= 2
    newest = found[0]
    jobs.store.write(b"damaged", f"{newest.uri}/optimizer.pt")
    process = dataclasses.replace(job, folder=job.folder.with_name("again"))
    assert process.run("prepare") == 0
    running = process.start("train")
    process.wait_for_step(running, 1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == ExitCode.PREEMPTED
    assert f"checkpoint {newest.uri} is damaged" in process.log
