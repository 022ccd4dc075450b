"""A result that is in the store already: found, handed on by prepare and train, and never somebody else's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kubetune_contract import (
    Dataset,
    ExitCode,
    Export,
    FoundResult,
    KubeTuneError,
    Lora,
    ObjectStore,
    Owner,
    RowSettings,
    TrainConfig,
    TrainSummary,
    from_json,
    to_json,
)
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store
from kubetune_trainer.identity import Identity, identify
from kubetune_trainer.publishing.index import Finding, find_result, note_result, said
from kubetune_trainer.publishing.results import artifact_uri, manifest_meta
from kubetune_trainer.workspace import Inputs
from tests.support.models_on_disk import put_model
from tests.support.ports import free_port
from tests.support.s3 import S3Server
from tests.support.training import Jobs, Trainer, rows

AT = 1_750_000_000.0
DATE = "2025-06-15 15:06 UTC"
RESULTS = "s3://out/results/team/demo"


@pytest.fixture(scope="module")
def server(server: S3Server) -> S3Server:
    """With a model, as far as ``prepare`` looks into one."""
    put_model(server.root / "models/tiny")
    return server


@pytest.fixture
def jobs(known_server: S3Server, tmp_path: Path) -> Jobs:
    return Jobs(known_server, tmp_path)


@pytest.fixture
def results(request: pytest.FixtureRequest) -> str:
    return f"{RESULTS}-{abs(hash(request.node.name))}"


def config_of(jobs: Jobs, results: str, uid: str = "uid-1", **changes: object) -> TrainConfig:
    made = dataclasses.replace(
        jobs.job().config, owner=Owner("team", "demo", uid), output=f"s3://out/{uid}-{results[-12:]}"
    )
    return dataclasses.replace(made, results=results, **changes)  # type: ignore[arg-type]


def trained(store: Store, config: TrainConfig, inputs: Inputs, folder: Path, kind: str = "adapter") -> TrainSummary:
    """Publishes what a training would, and notes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    results = {"schema": 1, "steps": 8, "trainRows": 64, "validationRows": 0, "durationSeconds": 2.5}
    meta = manifest_meta(config, inputs, results)
    artifact = publish(store, folder, artifact_uri(config), kind=kind, meta=meta)
    summary = from_json(TrainSummary, {**results, "artifact": to_json(artifact), "mlflowRunId": "run-1"})
    note_result(store, config, summary, AT)
    return summary


def inputs_of(dataset: str = "ab" * 32, base: str = "commit:cd") -> Inputs:
    return Inputs("ef" * 32, "/model", dataset, 64, 0, base)


def find(store: Store, config: TrainConfig, dataset: str = "ab" * 32, base: str = "commit:cd") -> Finding:
    return find_result(store, config, lambda: identify(config, dataset, base), RowSettings("64 rows", 3.0))


@pytest.mark.law("L11", "F12")
def test_the_same_run_of_a_later_object_takes_the_result(jobs: Jobs, results: str, tmp_path: Path) -> None:
    store, config = jobs.store, config_of(jobs, results)
    summary = trained(store, config, inputs_of(), tmp_path / "out")
    later = find(store, config_of(jobs, results, "uid-2"))
    assert later.told == ()
    found = FoundResult(AT, "uid-1", RowSettings("64 rows", 3.0))
    assert later.summary == dataclasses.replace(summary, found=found)
    assert find(store, config).summary, "the object itself, whose status is lost"
    assert said(AT) == DATE


def nobody_asks() -> Identity:
    raise AssertionError("a base on a claim would be read for nothing")


def test_where_nothing_was_trained_nothing_is_asked(jobs: Jobs, results: str) -> None:
    for config in (config_of(jobs, results), dataclasses.replace(config_of(jobs, results), results=None)):
        assert find_result(jobs.store, config, nobody_asks) == Finding()


@pytest.mark.law("L11", "F12")
@pytest.mark.parametrize(
    ("changes", "dataset", "base", "words"),
    [
        ({"lora": Lora(rank=8, alpha=8)}, "ab" * 32, "commit:cd", "with other rank:"),
        ({"rerun": "2"}, "ab" * 32, "commit:cd", "with other rerun:"),
        ({}, "ef" * 32, "commit:cd", "with other rows:"),
        ({}, "ef" * 32, "commit:12", "with other rows and base model:"),
    ],
)
def test_another_run_is_trained_and_told_apart(
    jobs: Jobs, results: str, tmp_path: Path, changes: dict[str, object], dataset: str, base: str, words: str
) -> None:
    store, config = jobs.store, config_of(jobs, results)
    trained(store, config, inputs_of(), tmp_path / "out")
    finding = find(store, config_of(jobs, results, "uid-2", **changes), dataset, base)
    assert finding.summary is None
    (told,) = finding.told
    assert told.reason == "TrainedBefore"
    assert words in told.message
    assert artifact_uri(config) in told.message
    assert DATE in told.message


@pytest.mark.law("L11", "F12")
def test_a_rerun_has_a_result_of_its_own(jobs: Jobs, results: str, tmp_path: Path) -> None:
    store, again = jobs.store, config_of(jobs, results, "uid-2", rerun="2")
    trained(store, config_of(jobs, results), inputs_of(), tmp_path / "out")
    trained(store, again, inputs_of(), tmp_path / "again")
    for rerun, uid in ((None, "uid-1"), ("2", "uid-2")):
        summary = find(store, config_of(jobs, results, "uid-3", rerun=rerun)).summary
        assert summary is not None
        assert summary.found is not None
        assert summary.found.uid == uid


@pytest.mark.law("L11", "F12")
@pytest.mark.parametrize("owner", [Owner("other", "demo", "uid-1"), Owner("team", "demo2", "uid-1")])
@pytest.mark.parametrize("forged", [False, True])
def test_another_namespaces_or_names_result_is_never_taken(
    jobs: Jobs, results: str, tmp_path: Path, owner: Owner, forged: bool
) -> None:
    """Also where all share one folder, and where the entry claims to be ours but the published folder is not."""
    store, config = jobs.store, config_of(jobs, results)
    other = dataclasses.replace(config, owner=owner)
    trained(store, other, inputs_of(), tmp_path / "out")
    if forged:
        uri = f"{results}/{identify(config, 'ab' * 32, 'commit:cd').sha256}.json"
        entry = json.loads(store.read(uri))
        store.write(json.dumps({**entry, "owner": to_json(config.owner)}).encode(), uri)
    finding = find(store, config)
    assert finding.summary is None
    assert [told.reason for told in finding.told] == ["EarlierResultDamaged"]


def garble_manifest(store: Store, uri: str) -> None:
    store.write(b"{", f"{uri}/manifest.json")


def drop_manifest(store: Store, uri: str) -> None:
    store.delete(f"{uri}/manifest.json")


def change_manifest(store: Store, uri: str) -> None:
    store.write(store.read(f"{uri}/manifest.json") + b" ", f"{uri}/manifest.json")


def drop_file(store: Store, uri: str) -> None:
    store.delete(f"{uri}/adapter_model.safetensors")


def cut_file(store: Store, uri: str) -> None:
    store.write(b"weight", f"{uri}/adapter_model.safetensors")


@pytest.mark.law("L11", "F12")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (garble_manifest, "is damaged"),
        (drop_manifest, "has no manifest any more"),
        (change_manifest, "holds something else now"),
        (drop_file, "lacks adapter_model.safetensors"),
        (cut_file, "lacks adapter_model.safetensors"),
    ],
)
def test_a_damaged_result_is_not_taken_and_that_is_told(
    jobs: Jobs, results: str, tmp_path: Path, damage: Callable[[Store, str], None], words: str
) -> None:
    store, config = jobs.store, config_of(jobs, results)
    trained(store, config, inputs_of(), tmp_path / "out")
    damage(store, artifact_uri(config))
    finding = find(store, config_of(jobs, results, "uid-2"))
    assert finding.summary is None
    (told,) = finding.told
    assert told.reason == "EarlierResultDamaged"
    assert words in told.message
    assert "trained anew" in told.message


def test_a_garbled_entry_is_told(jobs: Jobs, results: str) -> None:
    store, config = jobs.store, config_of(jobs, results)
    store.write(b"{", f"{results}/{identify(config, 'ab' * 32, 'commit:cd').sha256}.json")
    (told,) = find(store, config).told
    assert "cannot be read" in told.message
    assert find(store, config, dataset="12" * 32) == Finding()


@pytest.mark.law("L11", "F12")
def test_a_store_that_is_away_is_no_reason_to_train(jobs: Jobs, results: str) -> None:
    config = config_of(jobs, results)
    with pytest.raises(KubeTuneError) as caught:
        find(Store(ObjectStore(f"http://127.0.0.1:{free_port()}")), config)
    assert caught.value.code is ExitCode.UNAVAILABLE


# What follows runs the commands as a pod would.


def pod(jobs: Jobs, results: str, uid: str, data: str, **changes: object) -> Trainer:
    job = jobs.job(dataset={})
    config = config_of(jobs, results, uid, dataset=Dataset(data), **changes)
    return Trainer(config, job.folder, job.environment)


def prepared(job: Trainer) -> Inputs:
    return from_json(Inputs, json.loads((job.work / "inputs/inputs.json").read_text()))


def first_run(jobs: Jobs, results: str, tmp_path: Path) -> tuple[str, TrainSummary]:
    """Prepared for real; the training is played. The URI of its rows, and its summary."""
    data = jobs.data(rows())
    first = pod(jobs, results, "uid-1", data)
    assert first.run("prepare") == 0, first.log
    return data, trained(jobs.store, first.config, prepared(first), tmp_path / "out")


@pytest.mark.law("L11", "F12")
def test_prepare_finds_the_result_and_train_hands_it_on(jobs: Jobs, results: str, tmp_path: Path) -> None:
    """Without a preflight (fit: Skip), after delete and create: no model is fetched, nothing is written."""
    data, summary = first_run(jobs, results, tmp_path)
    later = pod(jobs, results, "uid-2", data)
    said_at_the_end = later.both()
    assert from_json(TrainSummary, said_at_the_end) == dataclasses.replace(summary, found=FoundResult(AT, "uid-1"))
    assert not (later.work / "inputs/model").exists()
    assert DATE in later.log
    assert jobs.store.list(later.config.output) == []


@pytest.mark.law("L11", "F12")
def test_rows_that_changed_under_their_uri_are_trained_and_told(jobs: Jobs, results: str, tmp_path: Path) -> None:
    data, _ = first_run(jobs, results, tmp_path)
    path = jobs.server.root / data.removeprefix("s3://")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(50)))
    later = pod(jobs, results, "uid-2", data)
    assert later.run("prepare") == 0, later.log
    (told,) = prepared(later).suggestions
    assert told.reason == "TrainedBefore"
    assert "with other rows:" in told.message
    assert prepared(later).found is None


def test_the_same_rows_and_base_elsewhere_are_the_same_run(jobs: Jobs, results: str, tmp_path: Path) -> None:
    first_run(jobs, results, tmp_path)
    assert from_json(TrainSummary, pod(jobs, results, "uid-2", jobs.data(rows(), "moved.jsonl")).both()).found


def test_a_result_that_lacks_an_export_is_exported_and_not_trained(jobs: Jobs, results: str, tmp_path: Path) -> None:
    data, summary = first_run(jobs, results, tmp_path)
    later = pod(jobs, results, "uid-2", data, export=Export(merged=True))
    assert later.run("prepare") == 0, later.log
    assert prepared(later).found == dataclasses.replace(summary, found=FoundResult(AT, "uid-1"))
    assert (later.work / "inputs/model/model.safetensors").is_file()
    assert not (later.work / "inputs/found.json").exists()
