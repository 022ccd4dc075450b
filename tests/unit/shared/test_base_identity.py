"""The name of a base model's content: the same for the same files, another for others, and no weights fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.artifacts import publish
from kubetune_shared.base_identity import name_content, named_by
from kubetune_shared.sources import resolve_model
from kubetune_shared.store import Store

META: dict[str, Any] = {"baseModel": None, "config": {}, "libraries": {}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model on a claim."""
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path))
    made = tmp_path / "models/tiny"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def test_a_folder_in_a_bucket_is_named_by_what_the_store_says_of_its_files(store: Store, tmp_path: Path) -> None:
    for name, data in (("config.json", b"{}"), ("model.safetensors", b"weights"), ("README.md", b"x")):
        store.write(data, f"s3://models/plain/{name}")
    first = name_content("s3://models/plain", store)
    assert first.startswith("etags:")
    store.write(b"another", "s3://models/plain/README.md")
    store.write(b"1", "s3://models/plain/.cache/lock.json")
    assert name_content("s3://models/plain/", store) == first
    store.write(b"Weights", "s3://models/plain/model.safetensors")
    assert name_content("s3://models/plain", store) != first
    assert named_by(resolve_model("s3://models/plain", store, tmp_path / "fetched")) is None


def test_a_manifest_names_its_folder(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    artifact = publish(store, source, "s3://models/whole", kind="model", meta=META)
    assert name_content("s3://models/whole", store) == f"manifest:{artifact.manifest_sha256}"
    fetched = resolve_model("s3://models/whole", store, tmp_path / "fetched")
    assert named_by(fetched) == f"manifest:{artifact.manifest_sha256}"


def test_a_folder_on_a_claim_is_named_by_its_files(store: Store, folder: Path) -> None:
    first = name_content("pvc://models/tiny", store)
    assert first.startswith("files:")
    (folder / ".cache").mkdir()
    (folder / ".cache/lock.json").write_text("1")
    (folder / "README.md").write_text("x")
    assert name_content("pvc://models/tiny", store) == first
    (folder / "model.safetensors").write_bytes(b"Weights")
    assert name_content("pvc://models/tiny", store) != first
    (folder / "manifest.json").write_text("{}")
    assert name_content("pvc://models/tiny", store).startswith("manifest:")


def test_what_is_not_there_or_holds_no_models(store: Store, folder: Path) -> None:
    for uri in ("pvc://models/other", "s3://no-bucket/x"):
        with pytest.raises(KubeTuneError) as caught:
            name_content(uri, store)
        assert caught.value.code is ExitCode.INPUT_NOT_FOUND
    with pytest.raises(KubeTuneError, match="holds no models"):
        name_content("configmap://a/b", store)
