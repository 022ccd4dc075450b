"""Models and data that are mounted, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore
from kubetune_shared.sources import hub_unavailable, resolve_file, resolve_model
from kubetune_shared.store import Store
from kubetune_shared.training_file import training_file
from tests.support.points import Record


@pytest.fixture
def store() -> Store:
    return Store(ObjectStore("http://127.0.0.1:9"))


def test_claims_and_config_maps(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("KUBETUNE_CONFIGMAP_ROOT", str(tmp_path / "cm"))
    (tmp_path / "pvc/models/tiny").mkdir(parents=True)
    (tmp_path / "cm/data").mkdir(parents=True)
    (tmp_path / "cm/data/train.jsonl").write_text("{}")
    found = resolve_model("pvc://models/tiny", store, tmp_path / "unused")
    assert (found.path, found.manifest, found.manifest_sha256) == (tmp_path / "pvc/models/tiny", None, None)
    assert resolve_file("configmap://data/train.jsonl", store, tmp_path).read_text() == "{}"
    for missing in ("pvc://models/other", "pvc://nothere/x"):
        with pytest.raises(KubeTuneError, match="does not exist") as caught:
            resolve_model(missing, store, tmp_path)
        assert caught.value.code is ExitCode.INPUT_NOT_FOUND


@pytest.mark.walk("C12")
def test_a_wrong_path_on_a_claim_is_told_what_is_there(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("KUBETUNE_CONFIGMAP_ROOT", str(tmp_path / "cm"))
    (tmp_path / "pvc/disk/rows").mkdir(parents=True)
    (tmp_path / "pvc/disk/rows/train.jsonl").write_text("{}")
    (tmp_path / "cm/chats/..data").mkdir(parents=True)
    (tmp_path / "cm/chats/train.jsonl").write_text("{}")
    for uri, words in (
        ("pvc://disk/rows/tain.jsonl", "does not exist; pvc://disk/rows/ has: train.jsonl."),
        ("pvc://disk/rows", "is not a file; pvc://disk/rows/ is a folder; it has: train.jsonl."),
        ("pvc://disk/row/train.jsonl", "does not exist; pvc://disk/ has: rows/."),
        ("configmap://chats/tain.jsonl", "does not exist; configmap://chats/ has: train.jsonl."),
    ):
        with pytest.raises(KubeTuneError) as caught:
            resolve_file(uri, store, tmp_path)
        assert caught.value.message == f"{uri} {words} Correct the URI or put it there"


@pytest.mark.walk("C13")
def test_a_hub_out_of_reach_is_told_with_what_to_do() -> None:
    error = hub_unavailable("hf://owner/name", OSError("[Errno -2] Name or service not known\n  at x"))
    assert (error.code, error.reason) == (ExitCode.UNAVAILABLE, "HubUnavailable")
    assert error.message == (
        "hf://owner/name: the hub does not answer ([Errno -2] Name or service not known). Pods of this namespace must "
        "reach https://huggingface.co. Where they cannot, download it once elsewhere (hf download), put it into a "
        "bucket or onto a claim, and name that: s3://bucket/path or pvc://claim/path"
    )


def test_schemes_that_cannot_hold_a_model(tmp_path: Path, store: Store) -> None:
    for uri in ("configmap://models/tiny", "http://x/y", "tiny"):
        with pytest.raises(KubeTuneError) as caught:
            resolve_model(uri, store, tmp_path)
        assert caught.value.reason == "InvalidURI"


@pytest.mark.intake
@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["data.jsonl", "eval/constraints.json"], "data.jsonl"),
        (["README.md", "data/rows.csv"], "data/rows.csv"),
        (["train.jsonl", "test.jsonl"], "train.jsonl"),
        (["rows.jsonl", "restrained.json", "train-00000-of-00001.parquet"], "train-00000-of-00001.parquet"),
        (["trainData.json", "strain.json"], "trainData.json"),
        (["train/rows.jsonl", "test/rows.jsonl"], "train/rows.jsonl"),
        (["rows.jsonl", "dev.jsonl", "dataset_infos.json"], "rows.jsonl"),
        (["test.csv"], "test.csv"),
        (["a.jsonl", "b.jsonl"], None),
        (["constraints.json", "trains.json"], None),
        (["train_sft.jsonl", "train_gen.jsonl"], None),
        (["a.txt"], None),
    ],
)
def test_training_file_of_a_hub_dataset(names: list[str], chosen: str | None, record_property: Record) -> None:
    if chosen:
        assert training_file(names, "hf://owner/data") == chosen
        record_property("point", f"rows, hub file of {', '.join(names)}: {chosen}")
        return
    with pytest.raises(KubeTuneError) as caught:
        training_file(names, "hf://owner/data")
    assert caught.value.reason == "AmbiguousDataset"
    record_property("point", f"rows, hub file of {', '.join(names)}: refused: {caught.value.message}")
