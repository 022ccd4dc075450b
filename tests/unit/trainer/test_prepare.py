"""The prepare command against a real S3 server: what it leaves behind, and every refusal with its words."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import Dataset, ExitCode, Export, Lora, Method, ObjectStore, to_json
from kubetune_shared.artifacts import publish
from kubetune_shared.manifest import build, describe, serialise
from kubetune_trainer.checkpoints.runstate import Beginning, RunState
from kubetune_trainer.identity import Identity, deciding, settings_sha256
from tests.support.models_on_disk import put_model
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.s3 import S3Server
from tests.support.training import SOURCES, Jobs, Trainer, rows

CHAT = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}]


@pytest.fixture(scope="module")
def server(server: S3Server) -> S3Server:
    """With a model, as far as ``prepare`` looks into one."""
    put_model(server.root / "models/tiny")
    return server


@pytest.fixture
def jobs(known_server: S3Server, tmp_path: Path) -> Jobs:
    return Jobs(known_server, tmp_path)


def refused(job: Trainer, code: ExitCode, reason: str, *said: str) -> None:
    assert job.run("prepare") == code, job.log
    failure = job.termination
    assert (failure["reason"], failure["exitCode"]) == (reason, code)
    for words in said:
        assert words in failure["message"]


def test_inputs_are_left_for_the_training(jobs: Jobs) -> None:
    job = jobs.job(dataset={"validation_share": 0.25})
    started = time.monotonic()
    assert job.run("prepare") == 0, job.log
    assert time.monotonic() - started < 20
    inputs = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    assert inputs["trainRows"] + inputs["validationRows"] == 64
    assert (Path(inputs["modelPath"]) / "model.safetensors").is_file()
    assert jobs.store.list(job.config.output) == []


def test_a_second_prepare_starts_afresh(jobs: Jobs) -> None:
    job = jobs.job(dataset={"validation_share": 0.25})
    assert job.run("prepare") == 0
    job.config = dataclasses.replace(job.config, dataset=Dataset(job.config.dataset.uri))
    assert job.run("prepare") == 0
    assert not (job.folder / "work/inputs/validation.jsonl").exists()


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, kubetune_trainer.prepare; sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(map(str, SOURCES))}, check=True)


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        ("", "EmptyDataset", "has no rows"),
        (
            '{"prompt": "a", "completion": "b"}\n' * 16 + '{"prompt": "a"\n',
            "MalformedRow",
            "train.jsonl line 17 (column 15): is not JSON",
        ),
        ('{"prompt": "a", "completion": ""}\n', "MalformedRow", "line 1: completion is empty"),
        ('{"q": "a"}\n', "UnknownColumns", "has the columns 'q': none of them is known"),
        (json.dumps(CHAT[0]), "NoChatTemplate", "s3://models/tiny has no chat template"),
    ],
)
def test_bad_data(jobs: Jobs, content: str, reason: str, said: str) -> None:
    refused(jobs.job(data=content), ExitCode.BAD_DATA, reason, said)


@pytest.mark.walk("W1")
def test_rows_other_than_the_preflights(jobs: Jobs) -> None:
    job = jobs.job(dataset_sha256="ab" * 32)
    refused(job, ExitCode.BAD_DATA, "DataChanged", "abababababababab", "the preflight counted them", "create it again")


@pytest.mark.walk("W1")
@pytest.mark.parametrize("noted", ["run.json", "checkpoint"])
def test_a_run_that_has_begun_knows_better_than_the_preflight(jobs: Jobs, tmp_path: Path, noted: str) -> None:
    job = jobs.job()
    assert job.run("prepare") == 0, job.log
    known = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    if noted == "run.json":
        RunState.claim(jobs.store, job.config.output, settings_sha256(job.config)).learns_from(
            Beginning(known["datasetSha256"])
        )
    else:
        (tmp_path / "weights").write_bytes(b"x")
        meta = {
            "baseModel": None,
            "datasetSha256": known["datasetSha256"],
            "config": {"train": to_json(job.config)},
            "libraries": {},
            "createdBy": job.config.owner,
        }
        publish(jobs.store, tmp_path, f"{job.config.output}/checkpoints/10-abcd", kind="checkpoint", meta=meta)
    job.config = dataclasses.replace(job.config, dataset_sha256="ab" * 32)
    assert job.run("prepare") == 0, job.log
    path = jobs.server.root / job.config.dataset.uri.removeprefix("s3://")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(50)))
    refused(job, ExitCode.BAD_DATA, "DataChanged", known["datasetSha256"][:16], "began to learn from them")


@pytest.mark.walk("W1")
def test_rows_other_than_those_the_run_began_with(jobs: Jobs) -> None:
    job = jobs.job()
    assert job.run("prepare") == 0, job.log
    known = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    state = RunState.claim(jobs.store, job.config.output, settings_sha256(job.config))
    state.learns_from(Beginning(known["datasetSha256"]))
    assert job.run("prepare") == 0, job.log
    path = jobs.server.root / job.config.dataset.uri.removeprefix("s3://")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(50)))
    refused(job, ExitCode.BAD_DATA, "DataChanged", known["datasetSha256"][:16], "began to learn from them")
    # Under other settings it is another run, which begins anew with what is there.
    job.config = dataclasses.replace(job.config, lora=Lora(rank=2))
    assert job.run("prepare") == 0, job.log


def begun(jobs: Jobs, **changes: Any) -> tuple[Trainer, dict[str, Any]]:
    """A job whose first pod has begun to learn, and its inputs."""
    job = jobs.job(**changes)
    assert job.run("prepare") == 0, job.log
    inputs = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    state = RunState.claim(jobs.store, job.config.output, settings_sha256(job.config))
    state.learns_from(Beginning(inputs["datasetSha256"], inputs["base"], inputs["baseFiles"]))
    return job, inputs


def overwrite(folder: Path) -> None:
    """Other weights of the same shape."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize("scheme", ["s3", "pvc", "pvc with a manifest"])
def test_a_base_that_was_overwritten_under_a_run(
    jobs: Jobs, tmp_path: Path, scheme: str, record_property: Record
) -> None:
    folder = (tmp_path if scheme.startswith("pvc") else jobs.server.root / "models") / f"own-{tmp_path.name}"
    put_model(folder)
    if "manifest" in scheme:
        whole = build("model", describe(folder), {})
        (folder / "manifest.json").write_bytes(serialise(whole))
    uri = f"pvc://claim/{folder.name}" if scheme.startswith("pvc") else f"s3://models/{folder.name}"
    (tmp_path / "claim").symlink_to(tmp_path)
    job = jobs.job(base_model=uri)
    job.environment["KUBETUNE_PVC_ROOT"] = str(tmp_path)
    assert job.run("prepare") == 0, job.log
    inputs = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    state = RunState.claim(jobs.store, job.config.output, settings_sha256(job.config))
    state.learns_from(Beginning(inputs["datasetSha256"], inputs["base"], inputs["baseFiles"]))
    assert job.run("prepare") == 0, job.log
    overwrite(folder)
    if "manifest" in scheme:
        refused(
            job, ExitCode.BAD_DATA, "ChecksumMismatch", "model.safetensors is not the file that the folder's manifest"
        )
        return
    refused(
        job, ExitCode.BAD_DATA, "BaseChanged", uri, "this run began with", "put the old files back", "create it again"
    )
    record_property("point", f"base overwritten under a run: {job.termination['message']}")
    # Under other settings it is another run.
    job.config = dataclasses.replace(job.config, lora=Lora(rank=2))
    assert job.run("prepare") == 0, job.log


def test_a_published_result_outlives_its_base(jobs: Jobs, tmp_path: Path) -> None:
    """Only the export that is missing needs the base: of another one it would be another model."""
    folder = jobs.server.root / "models" / f"own-{tmp_path.name}"
    put_model(folder)
    job, inputs = begun(jobs, base_model=f"s3://models/{folder.name}", export=Export(merged=True))
    run = Identity(deciding(job.config), inputs["datasetSha256"], inputs["base"])
    results = {"schema": 1, "steps": 8, "trainRows": 64, "validationRows": 0, "durationSeconds": 1.0}
    meta = {"datasetSha256": inputs["datasetSha256"], "config": {"run": to_json(run), "results": results}}
    (tmp_path / "result").mkdir()
    (tmp_path / "result/adapter_model.safetensors").write_bytes(b"trained")
    artifact = publish(jobs.store, tmp_path / "result", f"{job.config.output}/adapter", kind="adapter", meta=meta)
    overwrite(folder)
    assert job.run("prepare") == 0, job.log
    summary = job.succeed("train")
    assert summary["artifact"] == to_json(artifact)
    (told,) = summary["suggestions"]
    assert told["reason"] == "ExportFailed"
    assert told["message"].startswith(f"merged cannot be made: s3://models/{folder.name} holds another model")


def test_the_same_base_under_another_name_is_the_same(jobs: Jobs, tmp_path: Path) -> None:
    """A store that was moved may have other ETags for the same files; a folder may have got a manifest since."""
    folder = jobs.server.root / "models" / f"own-{tmp_path.name}"
    put_model(folder)
    job, inputs = begun(jobs, base_model=f"s3://models/{folder.name}")
    assert inputs["base"].startswith("etags:")
    (folder / "manifest.json").write_bytes(serialise(build("model", describe(folder), {})))
    assert job.run("prepare") == 0, job.log
    again = json.loads((job.folder / "work/inputs/inputs.json").read_text())
    assert (again["base"], again["baseFiles"]) == (inputs["base"], inputs["baseFiles"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hyperparameters": {"learning_rate": -1.0}}, ["learning_rate must be above 0"]),
        ({"hyperparameters": {"lr_scheduler_type": "cosinus"}}, ["'cosinus' is not one of linear, cosine"]),
        ({"hyperparameters": {"optimizer": "adam", "warmup_ratio": 1.5}}, ["'adam'", "warmup_ratio"]),
        ({"hyperparameters": {"eval_steps": 5}}, ["eval_steps needs validation rows"]),
        ({"dataset": {"validation_share": 0.7}}, ["in (0, 0.5]"]),
        ({"lora": Lora(rank=0)}, ["lora.rank"]),
        ({"lora": Lora(target_modules=("lm_head",))}, ["lm_head"]),
        ({"gpus": 9}, ["gpus must be in [0, 8]"]),
    ],
)
def test_bad_settings(jobs: Jobs, changes: dict[str, Any], said: list[str]) -> None:
    refused(jobs.job(**changes), ExitCode.BAD_CONFIG, "InvalidConfig", *said)


def test_an_unknown_method(jobs: Jobs) -> None:
    job = jobs.job(method=Method.LORA)
    process = job.start("prepare")
    process.kill()
    process.wait()
    data = json.loads((job.folder / "config.json").read_text()) | {"method": "dora"}
    (job.folder / "config.json").write_text(json.dumps(data))
    environment = job.environment | {
        "KUBETUNE_CONFIG": str(job.folder / "config.json"),
        "KUBETUNE_TERMINATION_LOG": str(job.folder / "termination"),
    }
    command = [sys.executable, "-m", "kubetune_trainer", "prepare"]
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == ExitCode.BAD_CONFIG
    assert "known values are lora, qlora, full" in job.termination["message"]


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"base_model": "s3://models/nothing"}, "ObjectNotFound", "s3://models/nothing"),
        ({"base_model": "s3://no-bucket/tiny"}, "BucketNotFound", "no bucket 'no-bucket'"),
        ({"base_model": "pvc://claim/tiny"}, "ObjectNotFound", "pvc://claim/tiny does not exist"),
        ({"output": "s3://no-bucket/out"}, "BucketNotFound", "no bucket 'no-bucket'"),
        ({"dataset": {"validation_uri": "s3://data/none.jsonl"}}, "ObjectNotFound", "s3://data/none.jsonl"),
    ],
)
def test_missing_inputs(jobs: Jobs, changes: dict[str, Any], reason: str, said: str) -> None:
    refused(jobs.job(**changes), ExitCode.INPUT_NOT_FOUND, reason, said)


def test_a_base_model_without_weights(jobs: Jobs) -> None:
    jobs.store.write(b"{}", "s3://models/empty/config.json")
    jobs.store.write(b"{}", "s3://models/empty/tokenizer.json")
    job = jobs.job(base_model="s3://models/empty")
    refused(job, ExitCode.INPUT_NOT_FOUND, "ModelIncomplete", "has no *.safetensors")


def test_credentials_and_a_store_that_is_away(jobs: Jobs) -> None:
    job = jobs.job()
    job.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    refused(job, ExitCode.PERMISSION, "AccessDenied", "AWS_ACCESS_KEY_ID")
    away = jobs.job(store=ObjectStore(f"http://127.0.0.1:{free_port()}"))
    refused(away, ExitCode.UNAVAILABLE, "StoreUnavailable", "does not answer")


def test_rows_of_the_validation_file_are_checked_too(jobs: Jobs) -> None:
    held = jobs.data('{"prompt": 1, "completion": "x"}\n', "held.jsonl")
    job = jobs.job(data=rows(4), dataset={"validation_uri": held})
    refused(job, ExitCode.BAD_DATA, "MalformedRow", "held.jsonl line 1: prompt is a number")
