"""What is in a folder, told by one word: equal for equal files, another for any change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared import manifest as manifests
from kubetune_shared.artifacts import publish
from kubetune_shared.contents import content_of
from kubetune_shared.sources import LocalModel, resolve_model
from kubetune_shared.store import Store

CLAIM = "pvc://claim/model"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder behind CLAIM."""
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path / "pvc"))
    folder = tmp_path / "pvc" / "claim" / "model"
    folder.mkdir(parents=True)
    write(folder)
    return folder


def write(folder: Path, weights: str = "weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def listed(folder: Path) -> str:
    """Puts a manifest into the folder; its digest."""
    data = manifests.serialise(manifests.build("model", manifests.describe(folder), {}))
    (folder / manifests.NAME).write_bytes(data)
    return manifests.bytes_sha256(data)


def seen(uri: str, store: Store, dest: Path) -> str:
    return content_of(uri, resolve_model(uri, store, dest))


def test_a_published_folder_is_its_manifest_wherever_it_lies(store: Store, mounted: Path, tmp_path: Path) -> None:
    made = publish(store, mounted, "s3://models/published", kind="model", meta={})
    expected = f"manifest:{made.manifest_sha256}"
    assert seen("s3://models/published", store, tmp_path / "fetched") == expected
    (mounted / manifests.NAME).write_bytes((tmp_path / "fetched" / manifests.NAME).read_bytes())
    assert seen(CLAIM, store, tmp_path) == expected


def test_a_folder_without_manifest_is_its_files(store: Store, mounted: Path, tmp_path: Path) -> None:
    for file in mounted.iterdir():
        store.upload(file, f"s3://models/uploaded/{file.name}")
    before = seen(CLAIM, store, tmp_path)
    assert before.startswith("files:")
    assert seen("s3://models/uploaded", store, tmp_path / "fetched") == before
    write(mounted, "WEIGHTS")
    assert seen(CLAIM, store, tmp_path) != before
    write(mounted)
    assert seen(CLAIM, store, tmp_path) == before
    (mounted / "more.json").write_text("{}")
    assert seen(CLAIM, store, tmp_path) != before


def test_a_mounted_folder_must_be_what_its_manifest_says(store: Store, mounted: Path, tmp_path: Path) -> None:
    digest = listed(mounted)
    assert seen(CLAIM, store, tmp_path) == f"manifest:{digest}"
    (mounted / "chat_template.jinja").write_text("{{ messages }}")
    assert seen(CLAIM, store, tmp_path).startswith("files:"), "an engine would read what nobody listed, too"
    write(mounted, "WEIGHTS")
    with pytest.raises(KubeTuneError, match="is not the file that the folder's manifest lists") as caught:
        seen(CLAIM, store, tmp_path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "ChecksumMismatch")


def test_a_hub_model_is_its_commit(tmp_path: Path) -> None:
    assert content_of("hf://owner/name@main", LocalModel(tmp_path, None, None, "1a2b")) == "commit:1a2b"
