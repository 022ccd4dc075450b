"""The preflight command as its pod runs it, against a real S3 server and real model files."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset as Table
from trl import pack_dataset

from kubetune_contract import (
    Accelerator,
    Dataset,
    ExitCode,
    Lora,
    Method,
    Missing,
    Placement,
    Tracking,
)
from kubetune_shared.store import Store
from kubetune_trainer.preflight.profile import packed
from kubetune_trainer.preflight.surroundings import core_tflops, try_output
from tests.support.hub import hub
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.relay import relay
from tests.support.s3 import S3Server
from tests.support.training import Jobs, Trainer, rows, upload
from tests.unit.trainer.published import MODELS, Llama

from . import tiny

GIB = 1 << 30
RTX_3060 = Placement(
    accelerators=(Accelerator("NVIDIA-GeForce-RTX-3060", 12 * GIB, compute_capability="8.6"),),
    currency="EUR",
    electricity_per_kwh=0.3,
)


def passed(job: Trainer) -> dict[str, Any]:
    assert job.run("preflight") == 0, job.log
    return job.termination


def refused(job: Trainer, code: ExitCode, reason: str, *said: str) -> None:
    assert job.run("preflight") == code, job.log
    failure = job.termination
    assert (failure["reason"], failure["exitCode"]) == (reason, code)
    for words in said:
        assert words in failure["message"]


def reasons(summary: dict[str, Any]) -> set[str]:
    return {one["reason"] for one in summary.get("suggestions", ())}


def big(folder: Path, base: Path, model: Llama) -> Path:
    """A model of full size whose weights are holes in files: headers and sizes are real, no byte is on the disk."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).exists():
            shutil.copy(base / name, folder)
    (folder / "config.json").write_text(json.dumps(model.config))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in model.tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    data = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(data)) + data)
        file.truncate(8 + len(data) + end)
    return folder


@pytest.fixture
def llama(server: S3Server, base: Path) -> Iterator[str]:
    """Llama-3.1-8B's dimensions at ``s3://models/llama``."""
    folder = big(server.root / "models/llama", base, MODELS["Llama-3.1-8B"])
    yield "s3://models/llama"
    shutil.rmtree(folder)


def test_the_figures_are_those_of_the_training(jobs: Jobs) -> None:
    """Rows, cuts, left-out rows, steps, tokens and digest: what preflight says is what training then does."""
    data = [
        *({"prompt": f"say {n} =", "completion": f" hello {n}"} for n in range(30)),
        {"prompt": "say " * 100, "completion": " hello"},
        {"prompt": "hello", "completion": " world" * 100},
    ]
    job = jobs.job(data=data, hyperparameters={"max_steps": None, "num_train_epochs": 2.0})
    before = passed(job)
    after = job.both()
    assert before["steps"] == after["steps"] == 8
    for name in ("datasetSha256", "droppedRows", "truncatedRows"):
        assert before[name] == after[name], name
    assert before["trainRows"] == after["trainRows"] + after["droppedRows"] == 32
    assert (before["droppedRows"], before["truncatedRows"]) == (1, 2)
    assert before["tokenLengths"]["max"] > 64
    assert sum(before["histogram"].values()) == 32
    assert 0 < before["maskedShare"] < 1
    if after.get("tokens"):
        assert before["tokensPerEpoch"] * 2 == after["tokens"]


def test_no_weight_is_fetched_and_a_card_gets_its_verdict(jobs: Jobs, llama: str) -> None:
    """16 GB of weights, of which nothing but the header travels; 8B does not fit 12 GiB as LoRA, but as QLoRA."""
    with relay(jobs.server.endpoint) as counted:
        store = dataclasses.replace(jobs.server.store, endpoint=counted.endpoint)
        hyper = {"max_sequence_length": 2048, "packing": True}
        job = jobs.job(base_model=llama, gpus=1, placement=RTX_3060, store=store, hyperparameters=hyper)
        started = time.monotonic()
        summary = passed(job)
        assert time.monotonic() - started < 60
    assert counted.received < 1 << 20
    assert summary["fit"] == "DoesNotFit"
    assert "nearest that fits: " in summary["fitMessage"]
    assert "method: qlora" in summary["fitMessage"]
    assert summary["memory"]["accelerator"] == "NVIDIA-GeForce-RTX-3060"
    assert summary["memory"]["weights"] == 2 * MODELS["Llama-3.1-8B"].shape.parameters
    job.config = dataclasses.replace(job.config, store=jobs.server.store, method=Method.QLORA)
    again = passed(job)
    assert again["memory"]["weights"] < 6 * GIB
    settings = dataclasses.replace(
        job.config.hyperparameters, per_device_train_batch_size=1, gradient_checkpointing=True
    )
    job.config = dataclasses.replace(job.config, hyperparameters=settings)
    summary = passed(job)
    assert summary["fit"] == "Fits", summary["fitMessage"]
    for name in ("seconds", "cost", "kwh"):
        assert summary[name]["low"] < summary[name]["estimate"] < summary[name]["high"]
    assert summary["diskBytes"] > 16 * 10**9


def test_only_rows_as_long_as_the_longest_need_memory(jobs: Jobs, llama: str) -> None:
    """A limit of 8192 tokens costs nothing when rows have eight."""
    settings = {"max_sequence_length": 8192, "per_device_train_batch_size": 1, "gradient_checkpointing": True}
    job = jobs.job(base_model=llama, gpus=1, method=Method.QLORA, placement=RTX_3060, hyperparameters=settings)
    assert passed(job)["fit"] == "Fits"
    job.config = dataclasses.replace(job.config, placement=Placement())
    blind = passed(job)
    assert blind["fit"] == "Unknown"
    assert "spec.resources.gpuMemory" in blind["fitMessage"]
    assert "seconds" not in blind


def tiny_chats() -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"hi {n}"}, {"role": "assistant", "content": "hello"}]}
        for n in range(16)
    ]


def test_a_model_on_a_claim(jobs: Jobs, base: Path, tmp_path: Path) -> None:
    job = jobs.job(base_model="pvc://models/tiny")
    job.environment["KUBETUNE_PVC_ROOT"] = str(tmp_path / "pvc")
    shutil.copytree(base, tmp_path / "pvc/models/tiny")
    summary = passed(job)
    assert summary["diskBytes"] < 1 << 28
    assert not list((job.folder / "work").rglob("*.safetensors"))


def test_a_model_on_the_hub(jobs: Jobs, base: Path, tmp_path: Path) -> None:
    big(tmp_path / "hub/owner/llama", base, MODELS["Llama-3.2-1B"])
    with hub(tmp_path / "hub") as endpoint, relay(endpoint) as counted:
        job = jobs.job(base_model="hf://owner/llama", gpus=1, placement=RTX_3060)
        job.environment |= {"HF_ENDPOINT": counted.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        summary = passed(job)
        assert summary["fit"] == "Fits", summary["fitMessage"]
        assert summary["memory"]["weights"] == 2 * 1_235_814_400
        assert counted.received < 1 << 20
        gated = jobs.job(base_model="hf://gated/model")
        gated.environment |= job.environment
        refused(gated, ExitCode.PERMISSION, "AccessDenied", "HF_TOKEN")


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        ("", "EmptyDataset", "has no rows"),
        ('{"prompt": "a", "completion": "b"}\n' * 16 + '{"prompt": "a"\n', "", "line 17"),
        ('{"prompt": "say ' + "hello " * 100 + '", "completion": "x"}\n', "AllLabelsMasked", "maxSequenceLength=64"),
    ],
)
def test_bad_data(jobs: Jobs, content: str, reason: str, said: str) -> None:
    job = jobs.job(data=content)
    assert job.run("preflight") == ExitCode.BAD_DATA, job.log
    assert said in job.termination["message"]
    assert job.termination["reason"] == reason or not reason


def test_a_tokenizer_without_chat_template(jobs: Jobs, server: S3Server, tmp_path: Path) -> None:
    upload(server, tiny.build(tmp_path / "plain", chat_template=None), "s3://models/plain")
    refused(
        jobs.job(data=tiny_chats(), base_model="s3://models/plain"),
        ExitCode.BAD_DATA,
        "NoChatTemplate",
        "s3://models/plain has no chat template",
    )


@pytest.mark.walk("W10")
def test_layers_that_the_model_does_not_have(jobs: Jobs) -> None:
    job = jobs.job(lora=Lora(target_modules=("query", "value")))
    refused(job, ExitCode.BAD_CONFIG, "UnknownTargetModules", "no layer query or value", "It has down_proj")
    job = jobs.job(lora=Lora(target_modules=("q_prj", "v_proj")))
    refused(job, ExitCode.BAD_CONFIG, "UnknownTargetModules", "no layer q_prj that", "Did you mean q_proj for q_prj?")


def test_a_model_that_is_not_whole(jobs: Jobs, server: S3Server, base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    upload(server, copy, "s3://models/cut")
    refused(jobs.job(base_model="s3://models/cut"), ExitCode.BAD_DATA, "ModelDamaged", "its header says")
    weights.rename(copy / "pytorch_model.bin")
    upload(server, copy, "s3://models/pickled")
    (server.root / "models/pickled/model.safetensors").unlink(missing_ok=True)
    pickled = jobs.job(base_model="s3://models/pickled")
    refused(pickled, ExitCode.INPUT_NOT_FOUND, "ModelIncomplete", "convert pickled weights")


def test_what_surrounds_it(jobs: Jobs) -> None:
    refused(jobs.job(output="s3://none/out"), ExitCode.INPUT_NOT_FOUND, "BucketNotFound", "'none'")
    job = jobs.job()
    job.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    refused(job, ExitCode.PERMISSION, "AccessDenied", "AWS_ACCESS_KEY_ID")
    refused(jobs.job(hyperparameters={"learning_rate": -1.0}), ExitCode.BAD_CONFIG, "InvalidConfig", "learning_rate")
    old = Placement(accelerators=(Accelerator("NVIDIA-GeForce-GTX-970", 4 * GIB, compute_capability="5.2"),))
    job = jobs.job(gpus=1, method=Method.QLORA, placement=old)
    refused(job, ExitCode.BAD_CONFIG, "GPUTooOld", "5.2")


def test_a_tracking_server_that_is_away_is_a_warning(jobs: Jobs) -> None:
    job = jobs.job(tracking=Tracking(f"http://127.0.0.1:{free_port()}", "experiment"))
    assert "TrackerUnreachable" in reasons(passed(job))
    assert "TrackerUnreachable" in job.log


def test_what_could_be_better_is_said(jobs: Jobs) -> None:
    data = [*rows(8) * 3, *({"prompt": "hello " * 100, "completion": f" hello {n}"} for n in range(4))]
    held = jobs.data([{"prompt": "SAY 1  =", "completion": " hello 1"}], "held.jsonl")
    summary = passed(jobs.job(data=data, dataset={"validation_uri": held}))
    assert (summary["duplicateRows"], summary["leakedRows"]) == (16, 1)
    assert {"LeakedRows", "DuplicateRows", "ManyTruncated", "NothingToLearn"} <= reasons(summary)
    assert len((jobs.folder / str(jobs.count) / "termination").read_bytes()) <= 4096


def test_how_the_rows_were_read_is_said(jobs: Jobs, record_property: Record) -> None:
    asked = [{"Question": row["prompt"], "Answer": row["completion"], "topic": "sums"} for row in rows(8)]
    data = [*asked, {"Question": "x", "Answer": None}]
    refused(jobs.job(data=data), ExitCode.BAD_DATA, "MalformedRow", "leaves out the 1 row (11.1%) with a missing cell")
    summary = passed(jobs.job(data=data, dataset={"missing": Missing.DROP}))
    assert (summary["trainRows"], summary["missingRows"]) == (8, 1)
    assert summary["columns"] == {"prompt": "Question", "completion": "Answer"}
    assert summary["columnsConfidence"] == 0.8
    assert summary["unusedMembers"] == {"topic": 8}
    assert {"ColumnsRecognised", "MissingCells", "UnusedMembers"} <= reasons(summary)
    job = jobs.job(data=data, dataset={"missing": Missing.DROP})
    assert job.run("prepare") == ExitCode.OK
    assert "1 of 9 rows (11.1%) lack a cell and are left out" in job.log
    refused(jobs.job(data=[{"foo": "x", "bar": "y"}]), ExitCode.BAD_DATA, "UnknownColumns", "columns: {prompt: ")
    record_property("point", "preflight: says which columns are read as what, what is missing and what is not used")


def test_many_members_fit_into_the_message(jobs: Jobs) -> None:
    beside = {f"member {n} {'x' * 80}": n for n in range(300)}
    summary = passed(jobs.job(data=[row | beside for row in rows(8)]))
    assert len(summary["unusedMembers"]) <= 16
    assert summary["unusedMembers"]["..."] > 8


def test_the_end_of_turns_is_looked_for(jobs: Jobs, server: S3Server, tmp_path: Path) -> None:
    assert "EndOfTurnNotLearned" not in reasons(passed(jobs.job(data=tiny_chats())))
    inside = "{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}"
    outside = "{% generation %}{{ m['content'] }}{% endgeneration %}<|end|>"
    template = tiny.CHAT_TEMPLATE.replace(inside, outside)
    assert template != tiny.CHAT_TEMPLATE
    upload(server, tiny.build(tmp_path / "endless", chat_template=template), "s3://models/endless")
    endless = jobs.job(data=tiny_chats(), base_model="s3://models/endless")
    assert "EndOfTurnNotLearned" in reasons(passed(endless))


def test_conditional_writes_are_found_out(jobs: Jobs) -> None:
    assert try_output(jobs.store, "s3://out/probe").conditional
    assert jobs.store.list("s3://out/probe") == []

    class Careless(Store):
        """Ignores conditions, as some stores do."""

        def put_if(self, data: bytes, uri: str, etag: str | None) -> str:
            self.write(data, uri)
            return "etag"

    seen = try_output(Careless(jobs.server.store), "s3://out/probe")
    assert not seen.conditional
    assert seen.bytes_per_second > 0


def test_packing_counts_as_trl_packs() -> None:
    lengths = [(17 * n) % 61 + 3 for n in range(2500)]
    table = Table.from_dict({"input_ids": [[1] * length for length in lengths]})
    made = pack_dataset(table, 64, "bfd")
    assert sorted(packed(lengths, 64)) == sorted(len(ids) for ids in made["input_ids"])


def test_a_core_computes() -> None:
    assert core_tflops(0.05) > 1e-4


def test_a_dataset_in_the_store_is_needed(jobs: Jobs) -> None:
    job = jobs.job()
    job.config = dataclasses.replace(job.config, dataset=Dataset("s3://data/none.jsonl"))
    refused(job, ExitCode.INPUT_NOT_FOUND, "ObjectNotFound", "s3://data/none.jsonl")
