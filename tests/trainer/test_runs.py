"""Runs that do not simply go well: data of every shape, lost numbers, a request to stop, a second attempt."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Lora, Tracking
from kubetune_shared.artifacts import fetch
from tests.support.ports import free_port
from tests.support.s3 import S3Server
from tests.support.training import Jobs, rows, upload

from . import tiny

CHATS = [
    {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": f"say {n % 8}"},
            {"role": "assistant", "content": f"hello {n % 8}"},
        ]
    }
    for n in range(32)
]
TEXTS = [{"text": f"the fox says {n % 4}"} for n in range(32)]
LONG = [{"prompt": "say " * 80, "completion": "x"}, *rows(7)]


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (CHATS, {"dataset": {"validation_share": 0.2}, "hyperparameters": {"eval_steps": 4}}),
        (TEXTS, {"hyperparameters": {"packing": True, "gradient_checkpointing": True}}),
        (LONG, {"hyperparameters": {"max_steps": None, "num_train_epochs": 2.0, "lr_scheduler_type": "linear"}}),
        ("instruction,input,output\n" + "Say it,7,hello\n" * 12, {"dataset": {}}),
    ],
    ids=["chats", "packed-text", "long", "csv"],
)
def test_data_of_every_shape(jobs: Jobs, data: Any, changes: dict[str, Any]) -> None:
    name = "train.csv" if isinstance(data, str) else "train.jsonl"
    job = jobs.job(data, **changes)
    job.config = dataclasses.replace(
        job.config, dataset=dataclasses.replace(job.config.dataset, uri=jobs.data(data, name))
    )
    summary = job.both()
    assert 0 < summary["trainLoss"] < 7
    if data is CHATS:
        assert summary["trainRows"] + summary["validationRows"] == len(CHATS)
        assert 0 < summary["evalLoss"] < 7
        assert "learned as a whole" not in job.log
    if data is LONG:
        assert (summary["truncatedRows"], summary["droppedRows"], summary["trainRows"]) == (1, 1, 7)
        assert summary["steps"] == 2
        assert "1 training rows are longer than 64 tokens and were cut" in job.log


def test_a_template_without_markers(jobs: Jobs, server: S3Server, tmp_path: Path) -> None:
    upload(server, tiny.build(tmp_path / "unmarked", tiny.UNMARKED_TEMPLATE), "s3://models/unmarked")
    job = jobs.job(CHATS, base_model="s3://models/unmarked")
    job.both()
    assert "learned as a whole" not in job.log


def test_all_labels_masked(jobs: Jobs) -> None:
    job = jobs.job([LONG[0]] * 3)
    assert job.run("prepare") == 0
    assert job.run("train") == ExitCode.BAD_DATA
    assert job.termination["reason"] == "AllLabelsMasked"


def test_target_modules_that_are_not_there(jobs: Jobs) -> None:
    job = jobs.job(lora=Lora(target_modules=("c_attn",)))
    assert job.run("prepare") == 0
    assert job.run("train") == ExitCode.BAD_CONFIG
    assert job.termination["reason"] == "UnknownTargetModules"
    assert "q_proj" in job.termination["message"]


def test_lost_numbers_stop_the_run(jobs: Jobs) -> None:
    hyper = {"learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_ratio": 0.0, "max_steps": 500, "optimizer": "sgd"}
    job = jobs.job(hyperparameters=hyper)
    assert job.run("prepare") == 0
    assert job.run("train") == ExitCode.DIVERGED, job.log
    assert job.termination["reason"] == "Diverged"
    assert "Lower learningRate" in job.termination["message"]
    assert [entry.path for entry in jobs.store.list(job.config.output)] == ["run.json"]


def test_a_request_to_stop_ends_after_the_step(jobs: Jobs) -> None:
    job = jobs.job(hyperparameters={"max_steps": 5000, "save_minutes": 0.0})
    assert job.run("prepare") == 0
    process = job.start("train")
    seen = job.wait_for_step(process, 5)
    assert (seen["phase"], seen["totalSteps"]) == ("training", 5000)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == ExitCode.PREEMPTED, job.log
    assert "of 5000; the next attempt starts from the beginning" in job.termination["message"]
    assert [entry.path for entry in jobs.store.list(job.config.output)] == ["run.json"]


def test_a_second_attempt_takes_what_the_first_published(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.job()
    first = job.both()
    again = dataclasses.replace(job, folder=job.folder.with_name("again"))
    assert again.both() == first
    assert "nothing to prepare" in again.log
    assert not (again.folder / "work/inputs/model").exists()
    other = dataclasses.replace(again, config=dataclasses.replace(job.config, lora=Lora(rank=2)))
    second = other.both()
    assert second["artifact"]["manifestSha256"] != first["artifact"]["manifestSha256"]
    assert fetch(jobs.store, second["artifact"]["uri"], tmp_path / "got") is not None


def test_training_goes_on_without_its_tracking_server(jobs: Jobs) -> None:
    tracking = Tracking(f"http://127.0.0.1:{free_port()}", "tests")
    job = jobs.job(tracking=tracking)
    job.environment["KUBETUNE_TRACKING_PATIENCE"] = "3"
    summary = job.both()
    assert "mlflowRunId" not in summary
    assert "training goes on" in job.log


def test_training_needs_prepared_inputs(jobs: Jobs) -> None:
    job = jobs.job()
    assert job.run("train") == ExitCode.BAD_CONFIG
    assert job.termination["reason"] == "NotPrepared"
