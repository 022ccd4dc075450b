"""Models and data by hf:// URI, through huggingface_hub's own client."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_contract import Dataset, ExitCode
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.manifest import BaseModel
from tests.support.hub import COMMIT, MOVED, hub, move
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.training import Jobs, Trainer, rows

from .attempts import wait_for_checkpoint


@pytest.fixture
def endpoint(base: Path, tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "hub"
    shutil.copytree(base, root / "owner/tiny")
    (root / "owner/tiny/evil.py").write_text("raise SystemExit")
    (root / "owner/tiny/pytorch_model.bin").write_text("pickle")
    data = root / "datasets/owner/rows"
    data.mkdir(parents=True)
    (data / "README.md").write_text("rows")
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    with hub(root) as running:
        yield running


def job_at(jobs: Jobs, endpoint: str, model: str = "hf://owner/tiny@main") -> Trainer:
    job = jobs.job(base_model=model)
    job.environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(jobs.folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return job


def test_model_and_data_from_a_hub(jobs: Jobs, endpoint: str) -> None:
    job = job_at(jobs, endpoint)
    job.config = dataclasses.replace(job.config, dataset=Dataset("hf://owner/rows", validation_share=0.2))
    summary = job.both()
    assert summary["steps"] == 8
    published = read_manifest(jobs.store, summary["artifact"]["uri"])
    assert published is not None
    assert published[0].base_model == BaseModel("hf://owner/tiny@main", None, COMMIT)
    fetched = {path.name for path in (job.folder / "work/inputs/model").iterdir()}
    assert "model.safetensors" in fetched
    assert not fetched & {"evil.py", "pytorch_model.bin"}


def test_a_branch_that_moves_under_a_run(jobs: Jobs, endpoint: str, tmp_path: Path, record_property: Record) -> None:
    """The run goes on with the commit that it began with; where the hub has that no more, it is refused."""
    job = job_at(jobs, endpoint)
    job.config = dataclasses.replace(
        job.config, hyperparameters=dataclasses.replace(job.config.hyperparameters, max_steps=400, save_steps=4)
    )
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    wait_for_checkpoint(job, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == ExitCode.PREEMPTED, job.log
    repository = tmp_path / "hub/owner/tiny"
    weights = (repository / "model.safetensors").read_bytes()
    former = move(repository)
    (repository / "model.safetensors").write_bytes(weights[:-1] + b"x")
    assert job.run("prepare") == 0, job.log
    fetched = job.folder / "work/inputs/model"
    assert (fetched / "model.safetensors").read_bytes() == weights
    assert json.loads((job.folder / "work/inputs/inputs.json").read_text())["base"] == f"commit:{COMMIT}"
    # Also where only the checkpoints tell, as after a release that did not note the base with the run.
    path = jobs.server.root / job.config.output.removeprefix("s3://") / "run.json"
    document = json.loads(path.read_text())
    assert document.pop("base") == f"commit:{COMMIT}"
    path.write_text(json.dumps(document))
    assert job.run("prepare") == 0, job.log
    assert (fetched / "model.safetensors").read_bytes() == weights
    shutil.rmtree(former)
    assert job.run("prepare") == ExitCode.BAD_DATA, job.log
    assert job.termination["reason"] == "BaseChanged"
    assert f"has no commit {COMMIT[:16]} any more, which this run began with" in job.termination["message"]
    # A run that begins now begins with what is there.
    new = job_at(jobs, endpoint)
    assert new.run("prepare") == 0, new.log
    assert json.loads((new.folder / "work/inputs/inputs.json").read_text())["base"] == f"commit:{MOVED}"
    record_property("point", f"a hub's branch moved under a run: its commit is fetched; {job.termination['message']}")


@pytest.mark.parametrize(
    ("model", "code", "reason", "said"),
    [
        ("hf://owner/none", ExitCode.INPUT_NOT_FOUND, "ObjectNotFound", "does not exist on the hub"),
        ("hf://gated/model", ExitCode.PERMISSION, "AccessDenied", "HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses(jobs: Jobs, endpoint: str, model: str, code: ExitCode, reason: str, said: str) -> None:
    job = job_at(jobs, endpoint, model)
    (Path(jobs.folder) / "hub/gated/model").mkdir(parents=True)
    assert job.run("prepare") == code, job.log
    assert job.termination["reason"] == reason
    assert said in job.termination["message"]


@pytest.mark.training
def test_a_hub_that_cannot_be_reached(jobs: Jobs) -> None:
    job = job_at(jobs, f"http://127.0.0.1:{free_port()}")
    assert job.run("prepare") == ExitCode.UNAVAILABLE, job.log
    assert job.termination["reason"] == "HubUnavailable"
    data = job_at(jobs, f"http://127.0.0.1:{free_port()}", "s3://models/tiny")
    data.config = dataclasses.replace(data.config, dataset=Dataset("hf://owner/rows"))
    assert data.run("prepare") == ExitCode.UNAVAILABLE, data.log
    offline = job_at(jobs, "http://127.0.0.1:1")
    offline.environment["HF_HUB_OFFLINE"] = "1"
    assert offline.run("prepare") == ExitCode.UNAVAILABLE, offline.log
