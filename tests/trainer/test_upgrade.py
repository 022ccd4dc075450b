"""A run that was suspended under the release before goes on under this one, bitwise as one that was never disturbed.

The release before is its own source, out of git: the same libraries, another trainer.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Export, Recovery, Tracking
from kubetune_trainer.checkpoints.shelf import Folder, complete, stored
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.relay import relay
from tests.support.training import Jobs, Trainer

from .attempts import DROPOUT, losses, wait_for_checkpoint, weights

FORMER = Path("/former")
HYPER: dict[str, Any] = {
    "max_steps": 60,
    "save_steps": 6,
    "save_minutes": 0.0,
    "logging_steps": 1,
    "eval_steps": 10,
    "load_best_model_at_end": True,
}


@pytest.fixture(scope="module")
def former() -> str:
    """PYTHONPATH of the release before."""
    if not (FORMER / "images/trainer").is_dir():
        reason = FORMER / "reason"
        pytest.skip(reason.read_text() if reason.is_file() else f"{FORMER} is there under tests.inside only")
    return ":".join(str(FORMER / "images" / name) for name in ("contract", "shared", "trainer"))


def pod(job: Trainer, name: str, code: str | None = None) -> Trainer:
    """Another pod of the job, on an empty disk, with the code of this release or of the one before."""
    environment = job.environment | ({"PYTHONPATH": code} if code else {})
    folder = job.folder.with_name(f"{job.folder.name}-{name}")
    return dataclasses.replace(job, folder=folder, environment=environment, port=free_port())


def disturbed(job: Trainer, code: str, number: signal.Signals) -> Trainer:
    """A pod of the release before that ended in the middle."""
    first = pod(job, "former", code)
    assert first.run("prepare") == 0, first.log
    process = first.start("train")
    wait_for_checkpoint(first, process, after=12)
    process.send_signal(number)
    assert process.wait(120) == (ExitCode.PREEMPTED if number is signal.SIGTERM else -number), first.log
    return first


def whole(job: Trainer, code: str) -> Trainer:
    """The same training in one go, under the release before."""
    config = dataclasses.replace(job.config, output=f"{job.config.output}-whole")
    made = dataclasses.replace(pod(job, "whole", code), config=config)
    made.both()
    return made


def after_the_upgrade(job: Trainer, tmp_path: Path, endpoint: str) -> Trainer:
    """What a new chart, a moved store and other settings of the cluster make of the same object's configuration."""
    hyper = dataclasses.replace(job.config.hyperparameters, logging_steps=7, save_total_limit=5, save_minutes=30.0)
    config = dataclasses.replace(
        job.config,
        store=dataclasses.replace(job.config.store, endpoint=endpoint),
        tracking=Tracking(f"file://{tmp_path}/mlruns", "moved"),
        hyperparameters=hyper,
        export=Export(merged=True),
        recovery=Recovery(patience=5, rollback=True),
        image="trainer:next",
        results=f"{job.config.output}/results",
    )
    environment = job.environment | {"MLFLOW_ALLOW_FILE_STORE": "true"}
    return dataclasses.replace(job, config=config, environment=environment)


@pytest.mark.law("L9")
@pytest.mark.parametrize("way", ["suspended", "killed, and all that does not decide is another"])
def test_a_run_of_the_release_before_goes_on(
    jobs: Jobs, tmp_path: Path, former: str, way: str, record_property: Record
) -> None:
    job = jobs.job(lora=DROPOUT, dataset={"validation_share": 0.25}, hyperparameters=HYPER)
    number = signal.SIGTERM if way == "suspended" else signal.SIGKILL
    first = disturbed(job, former, number)
    checkpoints = Folder(jobs.store, f"{job.config.output}/checkpoints")
    before, newest = stored(checkpoints), complete(checkpoints)[0].step
    with relay(jobs.server.endpoint) as moved:
        last = pod(job if way == "suspended" else after_the_upgrade(job, tmp_path, moved.endpoint), "last")
        assert last.run("prepare") == 0, last.log
        assert stored(checkpoints) == before, "prepare deletes nothing"
        last.succeed("train")
    assert f"going on from the checkpoint of step {newest}\n" in last.log
    assert "passed over" not in last.log
    never = whole(job, former)
    seen, expected = losses(first, last), losses(never)
    assert {key: value for key, value in expected.items() if key in seen} == seen
    if way == "suspended":
        assert seen == expected
    assert weights(jobs, last.termination, tmp_path / "a") == weights(jobs, never.termination, tmp_path / "b")
    for member in ("steps", "trainLoss", "evalLoss", "tokens", "bestStep"):
        assert last.termination.get(member) == never.termination.get(member), member
    run = json.loads(jobs.store.read(f"{job.config.output}/run.json"))
    assert run["base"].startswith("etags:")
    record_property(
        "point",
        f"begun under the release before, {way} at step {newest} of 60: {len(seen)} losses and the published weights "
        "bitwise those of a run that was never interrupted",
    )
