"""Models and data that are mounted, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore
from kubetune_shared.sources import resolve_file, resolve_model, training_file
from kubetune_shared.store import Store


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


def test_schemes_that_cannot_hold_a_model(tmp_path: Path, store: Store) -> None:
    for uri in ("configmap://models/tiny", "http://x/y", "tiny"):
        with pytest.raises(KubeTuneError) as caught:
            resolve_model(uri, store, tmp_path)
        assert caught.value.reason == "InvalidURI"


def test_training_file_of_a_hub_dataset() -> None:
    uri = "hf://owner/data"
    assert training_file(["README.md", "data/rows.csv"], uri) == "data/rows.csv"
    assert training_file(["train.jsonl", "test.jsonl"], uri) == "train.jsonl"
    with pytest.raises(KubeTuneError, match="2 possible training files"):
        training_file(["a.jsonl", "b.jsonl"], uri)
    with pytest.raises(KubeTuneError, match="no JSONL, JSON, CSV or Parquet"):
        training_file(["a.txt"], uri)
