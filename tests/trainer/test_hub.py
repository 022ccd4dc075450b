"""Models and data by hf:// URI, through huggingface_hub's own client."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_contract import Dataset, ExitCode
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.manifest import BaseModel
from tests.support.hub import COMMIT, hub
from tests.support.ports import free_port
from tests.support.training import Jobs, Trainer, rows


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
