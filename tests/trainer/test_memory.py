"""Memory that does not suffice: a limit on the process's addresses makes allocations fail as a full GPU would."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Recovery, from_json
from kubetune_trainer.checkpoints.runstate import RunDocument
from kubetune_trainer.recovery.probe import longest_that, missing_bytes
from tests.support.points import Record
from tests.support.s3 import S3Server
from tests.support.training import Jobs, Trainer

from . import wide
from .attempts import another, wait_for_checkpoint


@pytest.fixture(scope="module")
def wide_base(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The model at ``s3://models/wide``."""
    wide.stored(server, tmp_path_factory.mktemp("wide"))


@pytest.fixture
def limited(jobs: Jobs, wide_base: None) -> Callable[..., Trainer]:
    """Prepared jobs whose train command may map ``gibibytes`` beyond what its libraries need."""

    def make(gibibytes: float, tokens: int = wide.TOKENS, count: int = 8, **changes: Any) -> Trainer:
        data = [{"text": wide.text(tokens, seed)} for seed in range(count)]
        job = wide.job(jobs, data, **changes)
        assert job.run("prepare") == 0, job.log
        job.address_space = wide.resting_bytes() + int(gibibytes * wide.GIB)
        return job

    return make


def document(jobs: Jobs, job: Trainer) -> RunDocument:
    return from_json(RunDocument, json.loads(jobs.store.read(f"{job.config.output}/run.json")))


@pytest.mark.training
def test_the_whole_ladder_down_to_the_failure(
    jobs: Jobs, limited: Callable[..., Trainer], record_property: Record
) -> None:
    job = limited(0.4, hyperparameters={"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1})
    assert job.run("train") == ExitCode.OUT_OF_MEMORY, job.log
    steps = document(jobs, job).recovery
    assert [step.action for step in steps] == ["halveBatch", "halveBatch", "gradientCheckpointing", "optimizer8bit"]
    assert [(s.per_device_train_batch_size, s.gradient_accumulation_steps) for s in steps] == [(2, 2)] + [(1, 4)] * 3
    assert {step.kind for step in steps} == {"OutOfMemory"}
    message = job.termination["message"]
    assert "GiB more; rows of up to" in message, message
    assert "set maxSequenceLength: " in message
    record_property("point", f"out of memory, four rungs taken, then: {message}")


@pytest.mark.training
def test_a_run_goes_on_one_rung_lower_in_the_same_pod_and_in_the_next(
    jobs: Jobs, wide_base: None, record_property: Record
) -> None:
    """The limit comes down on a running process: what fitted once no longer does."""
    data = [{"text": wide.text(512, seed)} for seed in range(16)]
    hyper = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "max_steps": 7, "logging_steps": 1}
    job = wide.job(jobs, data, hyperparameters=hyper | {"save_steps": 1})
    assert job.run("prepare") == 0, job.log
    pod = another(job, "first")
    process = pod.start("train")
    wait_for_checkpoint(pod, process)
    most = wide.status(Path(f"/proc/{process.pid}/status").read_text(), "VmPeak") - wide.GIB // 2
    resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))
    while not (steps := document(jobs, job).recovery):
        assert process.poll() is None, pod.log
        time.sleep(0.05)
    step = steps[0]
    assert (step.action, step.per_device_train_batch_size, step.gradient_accumulation_steps) == ("halveBatch", 4, 2)
    assert step.step >= 1
    while pod.progress().get("step", 0) < step.step + 1:
        assert process.poll() is None, pod.log
        time.sleep(0.05)
    assert [s["action"] for s in pod.progress()["recovery"]] == ["halveBatch"]
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    last = another(job, "last")
    last.address_space = most
    assert last.run("train") == 0, last.log
    assert len(document(jobs, job).recovery) == 1
    assert last.termination["steps"] == 7
    assert [s["action"] for s in last.termination["recovery"]] == ["halveBatch"]
    assert "going on from the checkpoint of step" in last.log
    assert "going on from the checkpoint of step" in pod.log
    record_property("point", f"out of memory at step {step.step}: same pod, then the next, with half the micro-batch")


def test_no_ladder_where_it_is_not_wanted(jobs: Jobs, limited: Callable[..., Trainer]) -> None:
    hyper = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    job = limited(0.4, count=4, recovery=Recovery(adapt_to_memory=False), hyperparameters=hyper)
    assert job.run("train") == ExitCode.OUT_OF_MEMORY, job.log
    assert "lower perDeviceTrainBatchSize from 4 to 2" in job.termination["message"]
    assert document(jobs, job).recovery == ()


def test_the_longest_length_that_fits() -> None:
    for limit in (0, 15, 16, 100, 999):
        tried: list[int] = []

        def fits(length: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(length)
            return length <= limit

        found = longest_that(fits, 1000, 16)
        assert found == (min(limit, 999) // 16 * 16 or None)
        assert len(tried) <= 6
    assert missing_bytes({100: 50, 200: 100}, 300) == 50
    assert missing_bytes({100: 50}, 300) is None
