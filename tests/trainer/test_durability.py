"""Nothing that was learned is lost: pods die at any moment and the run ends exactly where it would have ended."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Lora, Method
from tests.support.points import Record
from tests.support.training import Jobs, Trainer, rows

from .attempts import DROPOUT, another, losses, undisturbed, wait_for_checkpoint, weights

TEXTS = [{"text": f"the fox says {n % 5} " * (1 + n % 4)} for n in range(96)]


def killed_until_done(job: Trainer, moments: int, dice: random.Random) -> list[Trainer]:
    """Pods of one job: each but the last is killed without warning, anywhere between its start and some steps on."""
    assert job.run("prepare") == 0, job.log
    pods = []
    for number in range(moments):
        pod = another(job, str(number))
        pods.append(pod)
        process = pod.start("train")
        if dice.random() < 0.8:
            pod.wait_for_step(process, pod.progress().get("step", 0) + dice.randrange(2, 12))
        else:
            time.sleep(dice.uniform(0.5, 8))
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        assert process.wait(30) == -signal.SIGKILL, pod.log
    pods.append(another(job, "last"))
    assert pods[-1].run("train") == 0, pods[-1].log
    return pods


@pytest.mark.parametrize("moments", [2, pytest.param(10, marks=pytest.mark.training)])
def test_killed_at_random_moments(jobs: Jobs, tmp_path: Path, moments: int, record_property: Record) -> None:
    seed = random.randrange(1 << 30)
    hyper = {"max_steps": 30 + 15 * moments, "save_steps": 5, "save_minutes": 0.0, "logging_steps": 1}
    job = jobs.job(lora=DROPOUT, hyperparameters=hyper)
    pods = killed_until_done(job, moments, random.Random(seed))
    whole = undisturbed(job)
    assert losses(*pods) == losses(whole), f"seed {seed}"
    assert len(losses(whole)) == hyper["max_steps"]
    last = pods[-1].termination
    assert weights(jobs, last, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b"), f"seed {seed}"
    for member in ("steps", "trainLoss", "tokens"):
        assert last[member] == whole.termination[member], member
    assert jobs.store.list(f"{job.config.output}/checkpoints") == []
    record_property("point", f"kill -9 at {moments} random moments: all losses and the weights bitwise equal")


VARIANTS: dict[str, dict[str, Any]] = {
    "packed by minutes": {
        "data": TEXTS,
        "lora": DROPOUT,
        "hyperparameters": {"packing": True, "max_steps": None, "num_train_epochs": 8.0, "logging_steps": 3},
    },
    "evaluated by minutes": {
        "lora": DROPOUT,
        "dataset": {"validation_share": 0.2},
        "hyperparameters": {"eval_steps": 7, "max_steps": 90, "logging_steps": 4},
    },
    "all weights by minutes": {
        "data": rows(40),
        "method": Method.FULL,
        "hyperparameters": {"max_steps": 90, "learning_rate": 1e-3, "per_device_train_batch_size": 3},
    },
}


@pytest.mark.parametrize(
    "name", ["packed by minutes", *(pytest.param(name, marks=pytest.mark.training) for name in list(VARIANTS)[1:])]
)
def test_suspended_in_the_middle_of_an_epoch(jobs: Jobs, tmp_path: Path, name: str, record_property: Record) -> None:
    changes = dict(VARIANTS[name])
    hyper = {"logging_steps": 1, "save_minutes": 0.003, **changes.pop("hyperparameters")}
    job = jobs.job(changes.pop("data", None), hyperparameters=hyper, **changes)
    assert job.run("prepare") == 0, job.log
    first = another(job, "first")
    process = first.start("train")
    wait_for_checkpoint(first, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == ExitCode.PREEMPTED, first.log
    assert first.termination["reason"] == "Preempted"
    stopped_at = int(first.termination["message"].split("after step ")[1].split()[0])
    assert first.termination["message"].endswith(f"goes on from the checkpoint of step {stopped_at}")
    second = another(job, "second")
    assert second.run("train") == 0, second.log
    assert f"going on from the checkpoint of step {stopped_at}" in second.log
    whole = undisturbed(job)
    assert losses(first, second) == losses(whole)
    assert weights(jobs, second.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    assert second.termination["trainLoss"] == whole.termination["trainLoss"]
    assert second.termination["tokens"] == whole.termination["tokens"]
    record_property("point", f"suspended at step {stopped_at}, {name}: all losses and the weights bitwise equal")


@pytest.mark.training
def test_what_a_run_has_spent_is_counted_over_its_pods(jobs: Jobs) -> None:
    job = jobs.job(hyperparameters={"max_steps": 5000, "save_steps": 10, "logging_steps": 1})
    assert job.run("prepare") == 0, job.log
    seen: list[dict[str, Any]] = []
    for number in range(2):
        pod = another(job, str(number))
        process = pod.start("train")
        if seen:
            early = pod.wait_for_step(process, 1)
            assert early["lastCheckpoint"] >= seen[0]["lastCheckpoint"]
            assert early["lastCheckpointAt"] >= seen[0]["lastCheckpointAt"]
            assert early["tokens"] >= seen[0]["tokens"]
        seen.append(wait_for_checkpoint(pod, process, after=seen[0]["step"] + 20 if seen else 0))
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == ExitCode.PREEMPTED, pod.log
    first, second = seen
    assert second["activeSeconds"] > first["activeSeconds"] + 0.5
    assert second["lastCheckpointAt"] > first["lastCheckpointAt"]
    assert second["tokens"] > first["tokens"] > 0
    for progress in seen:
        assert 0 < progress["stepSeconds"] < 60
        assert 0 < progress["checkpointSeconds"] < 60


def test_the_last_weights_are_published_unless_asked_otherwise(jobs: Jobs) -> None:
    """A best checkpoint is marked and stored, and left alone."""
    hyper = {"max_steps": 12, "eval_steps": 3, "save_steps": 3, "learning_rate": 0.3, "lr_scheduler_type": "constant"}
    job = jobs.job(dataset={"validation_share": 0.2}, lora=Lora(rank=4, alpha=64), hyperparameters=hyper)
    summary = job.both()
    assert "bestStep" not in summary
    assert summary["evalLoss"] == pytest.approx(float(losses(job)["eval_loss", 12]))
    state = json.loads(jobs.store.read(f"{job.config.output}/run.json"))
    evaluated = {step: float(value) for (name, step), value in losses(job).items() if name == "eval_loss" and step < 12}
    assert state["best"]["evalLoss"] == pytest.approx(min(evaluated.values()))


@pytest.mark.parametrize("stopped", [False, pytest.param(True, marks=pytest.mark.training)])
def test_the_best_weights_are_published(jobs: Jobs, tmp_path: Path, stopped: bool, record_property: Record) -> None:
    """The learning rate is far too high on purpose: the last weights are not the best."""
    hyper = {
        "max_steps": 60,
        "eval_steps": 3,
        "logging_steps": 1,
        "learning_rate": 0.3,
        "lr_scheduler_type": "constant",
        "load_best_model_at_end": True,
        "save_minutes": 0.0,
        "save_steps": 20,
        "save_total_limit": 1,
    }
    job = jobs.job(dataset={"validation_share": 0.2}, lora=Lora(rank=4, alpha=64), hyperparameters=hyper)
    assert job.run("prepare") == 0, job.log
    pods = [another(job, "0")]
    process = pods[0].start("train")
    if stopped:
        wait_for_checkpoint(pods[0], process, after=20)
        process.kill()
        process.wait(30)
        pods.append(another(job, "1"))
        process = pods[1].start("train")
    assert process.wait(300) == 0, pods[-1].log
    evaluated = {step: float(value) for (name, step), value in losses(*pods).items() if name == "eval_loss"}
    summary, best = pods[-1].termination, min(evaluated, key=lambda step: (evaluated[step], step))
    assert best < 60
    assert summary["bestStep"] == best
    assert summary["evalLoss"] == pytest.approx(evaluated[best])
    early = another(job, "early")
    short = dataclasses.replace(job.config.hyperparameters, max_steps=best, load_best_model_at_end=False)
    early.config = dataclasses.replace(job.config, output=f"{job.config.output}-early", hyperparameters=short)
    assert early.both()["steps"] == best
    assert weights(jobs, summary, tmp_path / "a") == weights(jobs, early.termination, tmp_path / "b")
    record_property("point", f"best of {len(evaluated)} evaluations published{' after kill -9' if stopped else ''}")
