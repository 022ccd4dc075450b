"""A pod that was cut off wakes up after another has taken over: it must notice, and change nothing."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from kubetune_contract import ExitCode
from tests.support.points import Record
from tests.support.s3 import SwitchableS3
from tests.support.training import Jobs, Trainer, upload

from .attempts import another, wait_for, wait_for_checkpoint


def contents(jobs: Jobs, job: Trainer) -> dict[str, bytes]:
    """Everything below the job's output."""
    output = job.config.output
    return {found.path: jobs.store.read(f"{output}/{found.path}") for found in jobs.store.list(output)}


def woken(jobs: Jobs, zombie: Trainer, process: subprocess.Popen[bytes]) -> None:
    """The pod that slept goes on, and has to end without a trace."""
    before = contents(jobs, zombie)
    process.send_signal(signal.SIGCONT)
    assert process.wait(180) == ExitCode.SUPERSEDED, zombie.log
    assert zombie.termination["reason"] == "Superseded"
    assert contents(jobs, zombie) == before


@pytest.mark.parametrize("finished", [True, False], ids=["after the newer ended", "while the newer trains"])
def test_a_pod_that_slept_while_training(jobs: Jobs, finished: bool, record_property: Record) -> None:
    steps = 120 if finished else 100_000
    job = jobs.job(hyperparameters={"max_steps": steps, "save_steps": 20, "logging_steps": 10})
    assert job.run("prepare") == 0, job.log
    zombie, newer = another(job, "zombie"), another(job, "newer")
    asleep = zombie.start("train")
    wait_for_checkpoint(zombie, asleep, after=20)
    asleep.send_signal(signal.SIGSTOP)
    awake = newer.start("train")
    if finished:
        assert awake.wait(300) == 0, newer.log
        assert "going on from the checkpoint" in newer.log
        woken(jobs, zombie, asleep)
        assert another(job, "later").run("train") == 0
    else:
        seen = wait_for_checkpoint(newer, awake, after=60)
        awake.send_signal(signal.SIGSTOP)
        woken(jobs, zombie, asleep)
        awake.send_signal(signal.SIGCONT)
        wait_for_checkpoint(newer, awake, after=seen["lastCheckpoint"])
        awake.kill()
        awake.wait(30)
    record_property("point", f"zombie woken {'after' if finished else 'before'} the newer pod's end: exit 80, no trace")


def test_a_pod_that_slept_while_publishing(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    switch = SwitchableS3(tmp_path / "store")
    try:
        for bucket in ("models", "data", "out"):
            switch.server.make_bucket(bucket)
        upload(switch.server, base, "s3://models/tiny")
        for name, value in switch.server.environment.items():
            monkeypatch.setenv(name, value)
        jobs = Jobs(switch.server, tmp_path)
        job = jobs.job(hyperparameters={"max_steps": 80, "save_steps": 20, "logging_steps": 10})
        assert job.run("prepare") == 0, job.log
        zombie, newer = another(job, "zombie"), another(job, "newer")
        asleep = zombie.start("train")
        wait_for_checkpoint(zombie, asleep)
        switch.off()
        wait_for(zombie, asleep, "publishing must wait")
        asleep.send_signal(signal.SIGSTOP)
        switch.on()
        assert newer.run("train") == 0, newer.log
        woken(jobs, zombie, asleep)
    finally:
        switch.off()
    record_property("point", "zombie woken while publishing: exit 80, the newer pod's artifact untouched")
