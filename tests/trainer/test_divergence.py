"""A loss that is lost: the run stops with its last good checkpoint, or goes back to it once at half the rate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from kubetune_contract import ExitCode, Method, Recovery, from_json
from kubetune_shared.artifacts import fetch
from kubetune_trainer.checkpoints.runstate import RunDocument
from tests.support.points import Record
from tests.support.training import Jobs, Trainer, rows

from .attempts import losses

POISON = "~"
# Plain gradient descent whose rate grows until it overshoots, after some thirty steps; half of it still learns.
BLOW_UP: dict[str, Any] = {
    "max_steps": 50,
    "learning_rate": 2.0,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_ratio": 0.72,
    "max_grad_norm": 0.0,
    "optimizer": "sgd",
    "logging_steps": 1,
    "save_steps": 5,
    "save_minutes": 0.0,
}


def document(jobs: Jobs, job: Trainer) -> RunDocument:
    return from_json(RunDocument, json.loads(jobs.store.read(f"{job.config.output}/run.json")))


def finite_weights(jobs: Jobs, uri: str, folder: Path) -> bool:
    fetch(jobs.store, uri, folder)
    return all(bool(torch.isfinite(w).all()) for f in folder.glob("*.safetensors") for w in load_file(f).values())


def seen(job: Trainer) -> dict[int, float]:
    return {step: float(value) for (name, step), value in losses(job).items() if name == "loss"}


def test_a_blow_up_keeps_the_last_good_checkpoint(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    job = jobs.job(method=Method.FULL, hyperparameters=BLOW_UP)
    assert job.run("prepare") == 0, job.log
    assert job.run("train") == ExitCode.DIVERGED, job.log
    latest = document(jobs, job).latest
    assert latest is not None
    message = job.termination["message"]
    assert f"The last good checkpoint, of step {latest.step}, is kept at {latest.uri}" in message
    curve = seen(job)
    assert curve[latest.step] < 3 * curve[1]
    assert 10 < latest.step < max(curve)
    assert "standard deviations above its running mean" in message
    assert finite_weights(jobs, latest.uri, tmp_path / "kept")
    record_property("point", f"blow-up of the loss: {message}")


def poison(folder: Path) -> None:
    """Makes one character's embedding NaN in the base that was fetched: prepare would refuse such a base, so that this
    stands for a row whose numbers overflow."""
    weights = load_file(folder / "model.safetensors")
    (number,) = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(POISON).ids
    weights["model.embed_tokens.weight"][number] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("rollback", [False, True], ids=["stop", "rollback"])
def test_one_row_that_makes_everything_nan(jobs: Jobs, tmp_path: Path, rollback: bool, record_property: Record) -> None:
    data = rows(160)
    # The seed brings this row in the eleventh step; a checkpoint would be due before the next log line.
    data[134] = {"prompt": "say", "completion": POISON}
    hyper = {"max_steps": 20, "save_steps": 2, "save_minutes": 0.0, "logging_steps": 7}
    recovery = Recovery(rollback=rollback)
    job = jobs.job(data, recovery=recovery, hyperparameters=hyper)
    assert job.run("prepare") == 0, job.log
    poison(job.work / "inputs" / "model")
    assert job.run("train") == ExitCode.DIVERGED, job.log
    found = document(jobs, job)
    assert found.latest is not None, job.log
    assert found.latest.step == 10
    assert f"of step {found.latest.step}, is kept at {found.latest.uri}" in job.termination["message"]
    assert finite_weights(jobs, found.latest.uri, tmp_path / "kept")
    assert [step.action for step in found.recovery] == ["rollback"] * rollback
    if rollback:
        (step,) = found.recovery
        assert (step.kind, step.learning_rate) == ("Divergence", 5e-3)
        assert f"going on from the checkpoint of step {found.latest.step}" in job.log
        assert "(now 0.005)" in job.termination["message"]
    record_property("point", f"NaN from one row: {job.termination['message']}")


@pytest.mark.training
def test_a_rollback_that_saves_the_run(jobs: Jobs, record_property: Record) -> None:
    job = jobs.job(method=Method.FULL, recovery=Recovery(rollback=True), hyperparameters=BLOW_UP | {"save_steps": 20})
    summary = job.both()
    (step,) = summary["recovery"]
    assert (step["kind"], step["action"], step["learningRate"]) == ("Divergence", "rollback", 1.0)
    assert summary["steps"] == BLOW_UP["max_steps"]
    assert "standard deviations above its running mean" in step["message"]
    record_property("point", f"rolled back once and done: {step['message']}")
