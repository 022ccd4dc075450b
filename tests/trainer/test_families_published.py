"""Every family through the commands that a pod runs: prepared, learned by two processes, merged, published."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import Export, Method
from kubetune_shared.artifacts import read_manifest
from tests.support.points import Record
from tests.support.s3 import S3Server
from tests.support.training import Jobs, upload

from . import families

pytestmark = pytest.mark.intake

PAIR = {"max_steps": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "logging_steps": 1}
ALWAYS = ("gemma3",)
"""In `make test`, too: the one that two processes once could not train."""


@pytest.mark.parametrize(
    "family",
    [one if one in ALWAYS else pytest.param(one, marks=pytest.mark.training) for one in families.FAMILIES],
)
def test_two_processes(family: str, jobs: Jobs, server: S3Server, tmp_path: Path, record_property: Record) -> None:
    folder = families.build(family, tmp_path / "base")
    uri = f"s3://models/family-{family}"
    upload(server, folder, uri)
    job = jobs.job(base_model=uri, processes=2, hyperparameters=PAIR, export=Export(merged=True))
    summary = job.both()
    assert summary["steps"] == 4
    assert [export["kind"] for export in summary["exports"]] == ["merged"]
    for kind in ("adapter", "merged"):
        assert read_manifest(jobs.store, f"{job.config.output}/{kind}") is not None
    record_property("point", f"{family}: two processes train an adapter; it and the merged model are published")


@pytest.mark.training
@pytest.mark.parametrize("family", ["gemma3", "qwen3_5", "mixtral", "gpt_oss", "granitemoehybrid"])
def test_two_processes_train_whole_models(
    family: str, jobs: Jobs, server: S3Server, tmp_path: Path, record_property: Record
) -> None:
    folder = families.build(family, tmp_path / "base")
    uri = f"s3://models/whole-{family}"
    upload(server, folder, uri)
    job = jobs.job(base_model=uri, processes=2, method=Method.FULL, hyperparameters={**PAIR, "learning_rate": 1e-3})
    assert job.both()["artifact"]["kind"] == "model"
    record_property("point", f"{family}: two processes train the whole model, towers left as they are")
