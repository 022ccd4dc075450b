"""Several training processes on one node: real processes over gloo, one of which fails, is killed or hangs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from kubetune_contract import ExitCode, Method, Recovery, from_json
from kubetune_shared.artifacts import fetch
from kubetune_shared.cpus import computes_bfloat16
from kubetune_trainer.checkpoints.runstate import RunDocument
from tests.support.points import Record
from tests.support.s3 import S3Server
from tests.support.training import Jobs, Trainer

from . import wide
from .attempts import DROPOUT, another, losses, undisturbed, wait_for_checkpoint, weights

PAIR: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "logging_steps": 1}
# Plain gradient descent whose rate grows beyond what any model stands, also when it is halved.
BLOW_UP: dict[str, Any] = {
    "max_steps": 400,
    "learning_rate": 300.0,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_ratio": 0.9,
    "max_grad_norm": 0.0,
    "optimizer": "sgd",
    "logging_steps": 1,
    "save_steps": 5,
    "save_minutes": 0.0,
}
FULL: dict[str, Any] = {"method": Method.FULL, "processes": 2}


def processes(pod: Trainer) -> list[int]:
    """Those of the last start, in the order of their ranks."""
    found = re.findall(r"2 training processes: (\d+), (\d+)", pod.log)
    return [int(pid) for pid in found[-1]]


def alive(pid: int) -> bool:
    """False for a process that has ended, also while nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end_of(pod: Trainer, process: subprocess.Popen[bytes], seconds: float = 180) -> int:
    """The pod's exit code; none of its training processes may be left."""
    code = process.wait(seconds)
    assert not any(alive(pid) for pid in processes(pod)), pod.log
    return code


def document(jobs: Jobs, job: Trainer) -> RunDocument:
    return from_json(RunDocument, json.loads(jobs.store.read(f"{job.config.output}/run.json")))


WAYS: dict[str, dict[str, Any]] = {
    "lora": {},
    "packed and evaluated": {
        "data": [{"text": f"the fox says {n % 5} " * (1 + n % 4)} for n in range(400)],
        "dataset": {"validation_share": 0.2},
        "hyperparameters": {"packing": True, "eval_steps": 4},
    },
    "qlora": {"method": Method.QLORA},
}


@pytest.mark.parametrize("way", ["lora", *(pytest.param(way, marks=pytest.mark.training) for way in list(WAYS)[1:])])
def test_two_processes_learn_what_one_learns(jobs: Jobs, way: str, record_property: Record) -> None:
    changes = {"data": None, "hyperparameters": {}, **WAYS[way]}
    data, hyper = changes.pop("data"), PAIR | changes.pop("hyperparameters")
    pair = jobs.job(data, processes=2, hyperparameters=hyper, **changes)
    one = jobs.job(data, hyperparameters=hyper | {"per_device_train_batch_size": 4}, **changes)
    for job in (pair, one):
        job.both()
    ours, theirs = losses(pair), losses(one)
    assert ours.keys() == theirs.keys()
    apart = {key: abs(float(ours[key]) - float(theirs[key])) for key in ours}
    far = max(apart[key] for key in apart if key[0] == "loss")
    # The halves of a batch are summed in another order, which shows in a bfloat16's eight bits.
    assert far < (2e-3 if computes_bfloat16() else 1e-4), (ours, theirs)
    # A validation loss is a mean over tokens, however they are shared out.
    assert max(apart.values()) < 1e-2, (ours, theirs)
    for member in ("steps", "trainRows", "tokens"):
        assert pair.termination[member] == one.termination[member], member
    # One process does all the talking.
    assert pair.log.count("step 1 of 8: loss") == pair.log.count("is in charge of") == 1
    record_property("point", f"{way}: 2 processes x 2 rows beside 1 x 4: {len(ours)} losses, at most {far:.1g} apart")


def test_a_process_is_killed_and_the_pod_suspended(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    hyper = PAIR | {"max_steps": 60, "save_steps": 5, "save_minutes": 0.0, "eval_steps": 20}
    job = jobs.job(
        processes=2,
        lora=DROPOUT,
        dataset={"validation_share": 0.2},
        hyperparameters=hyper | {"load_best_model_at_end": True, "gradient_accumulation_steps": 1},
    )
    assert job.run("prepare") == 0, job.log
    first = another(job, "first")
    process = first.start("train")
    wait_for_checkpoint(first, process)
    os.kill(processes(first)[1], signal.SIGKILL)
    assert end_of(first, process) == 128 + signal.SIGKILL
    assert first.termination["reason"] == "ProcessDied"
    assert "training process 1 of 2 was killed by SIGKILL" in first.termination["message"]
    second = another(job, "second")
    process = second.start("train")
    wait_for_checkpoint(second, process, after=second.wait_for_step(process, 1)["step"] + 5)
    process.send_signal(signal.SIGTERM)
    assert end_of(second, process) == ExitCode.PREEMPTED, second.log
    stopped = int(second.termination["message"].split("after step ")[1].split()[0])
    assert second.termination["message"].endswith(f"goes on from the checkpoint of step {stopped}")
    third = another(job, "third")
    assert third.run("train") == 0, third.log
    whole = undisturbed(job)
    assert losses(first, second, third) == losses(whole)
    assert weights(jobs, third.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    for member in ("steps", "trainLoss", "evalLoss", "tokens"):
        assert third.termination[member] == whole.termination[member], member
    record_property(
        "point", f"2 processes: one killed (exit 137), suspended at step {stopped} (exit 75): bitwise equal in the end"
    )


@pytest.mark.training
def test_bad_data_is_told_by_the_pod(jobs: Jobs) -> None:
    job = jobs.job([{"prompt": "say it " * 60, "completion": " hello"}], processes=2)
    assert job.run("prepare") == 0, job.log
    assert job.run("train") == ExitCode.BAD_DATA, job.log
    assert job.termination["reason"] == "AllLabelsMasked"
    assert job.termination["exitCode"] == ExitCode.BAD_DATA


@pytest.mark.training
def test_sharded_weights_are_published_whole(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    hyper = PAIR | {"fsdp": True, "learning_rate": 1e-3}
    shards = jobs.job(hyperparameters=hyper, **FULL)
    one = jobs.job(method=Method.FULL, hyperparameters=hyper | {"fsdp": False, "per_device_train_batch_size": 4})
    loaded = []
    for number, job in enumerate((shards, one)):
        summary = job.both()
        fetch(jobs.store, summary["artifact"]["uri"], tmp_path / str(number))
        loaded.append(AutoModelForCausalLM.from_pretrained(tmp_path / str(number)))
    assert "FSDP" not in (tmp_path / "0" / "config.json").read_text()
    far = max(abs(float(a) - float(b)) for a, b in zip(losses(shards).values(), losses(one).values(), strict=True))
    apart = [
        float((a - b).abs().max())
        for a, b in zip(loaded[0].state_dict().values(), loaded[1].state_dict().values(), strict=True)
    ]
    assert far < 1e-4, far
    assert max(apart) < 1e-3, apart
    record_property(
        "point", f"FSDP over 2 processes beside 1: losses at most {far:.1g}, weights {max(apart):.1g} apart"
    )


@pytest.mark.training
def test_sharded_run_is_suspended(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    hyper = PAIR | {"fsdp": True, "learning_rate": 1e-3, "max_steps": 60, "save_steps": 5, "save_minutes": 0.0}
    job = jobs.job(hyperparameters=hyper, **FULL)
    assert job.run("prepare") == 0, job.log
    first = another(job, "first")
    process = first.start("train")
    wait_for_checkpoint(first, process)
    process.send_signal(signal.SIGTERM)
    assert end_of(first, process) == ExitCode.PREEMPTED, first.log
    second = another(job, "second")
    assert second.run("train") == 0, second.log
    assert "going on from the checkpoint of step" in second.log
    whole = undisturbed(job)
    assert losses(first, second) == losses(whole)
    assert weights(jobs, second.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    record_property("point", "FSDP over 2 processes, suspended: all losses and the weights bitwise equal")


@pytest.mark.training
def test_a_process_that_hangs_ends_the_pod(jobs: Jobs, record_property: Record) -> None:
    job = jobs.job(processes=2, hyperparameters=PAIR | {"max_steps": 5000})
    job.environment |= {"KUBETUNE_RANKS_TIMEOUT": "30"}
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    job.wait_for_step(process, 3)
    os.kill(processes(job)[1], signal.SIGSTOP)
    began = time.monotonic()
    assert end_of(job, process) == ExitCode.BUG, job.log
    seconds = time.monotonic() - began
    assert seconds < 90
    record_property(
        "point", f"one of 2 processes hangs (timeout 30 s): the pod ended with exit 70 after {seconds:.0f} s"
    )


@pytest.mark.training
@pytest.mark.parametrize(
    "way", [{}, {"fsdp": True, "optimizer": "adamw_torch", "learning_rate": 3.0}], ids=["copies", "shards"]
)
def test_a_divergence_is_everybodys(jobs: Jobs, way: dict[str, Any], record_property: Record) -> None:
    # Adam's steps never blow up, but they leave what was learned.
    recovery = Recovery(rollback=True, loss_sigmas=2.0, patience=2)
    job = jobs.job(recovery=recovery, hyperparameters=BLOW_UP | way, **FULL)
    assert job.run("prepare") == 0, job.log
    assert end_of(job, job.start("train")) == ExitCode.DIVERGED, job.log
    (back,) = document(jobs, job).recovery
    assert back.action == "rollback"
    assert back.learning_rate == job.config.hyperparameters.learning_rate / 2
    assert job.log.count("2 training processes: ") == 2
    assert "going on from the checkpoint of step" in job.log
    record_property(
        "point", f"2 processes diverge (FSDP: {bool(way)}), all go back once, then: {job.termination['message']}"
    )


@pytest.mark.training
def test_all_go_down_the_ladder_when_one_is_short(
    jobs: Jobs, server: S3Server, tmp_path: Path, record_property: Record
) -> None:
    wide.stored(server, tmp_path / "wide")
    data = [{"text": wide.text(512, seed)} for seed in range(16)]
    hyper = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 6, "logging_steps": 1}
    job = wide.job(jobs, data, processes=2, hyperparameters=hyper | {"save_steps": 1})
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    wait_for_checkpoint(job, process)
    second = processes(job)[1]
    most = wide.status(Path(f"/proc/{second}/status").read_text(), "VmPeak") - wide.GIB // 2
    resource.prlimit(second, resource.RLIMIT_AS, (most, most))
    assert end_of(job, process, 300) == 0, job.log
    (rung,) = document(jobs, job).recovery
    assert (rung.action, rung.per_device_train_batch_size, rung.gradient_accumulation_steps) == ("halveBatch", 2, 2)
    assert job.termination["steps"] == 6
    record_property("point", f"1 of 2 processes out of memory: {rung.message}; the run was finished in the same pod")


@pytest.mark.training
def test_the_end_is_clean_every_time(jobs: Jobs, record_property: Record) -> None:
    job = jobs.job(processes=2, hyperparameters=PAIR | {"max_steps": 2})
    for number in range(10):
        config = dataclasses.replace(job.config, output=f"{job.config.output}-{number}")
        pod = dataclasses.replace(job, config=config, folder=job.folder.with_name(f"clean-{number}"))
        pod.both()
        assert "Traceback" not in pod.log
    record_property("point", "2 processes to the end, 10 times: exit 0 each time")
