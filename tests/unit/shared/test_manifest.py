"""Manifests: what is written is read back, what cannot be trusted is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubetune_contract import KubeTuneError, Owner
from kubetune_shared import manifest as manifests
from kubetune_shared.manifest import BaseModel, FileEntry


def test_describes_every_file_but_itself(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.bin").write_bytes(b"bb")
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "manifest.json").write_text("old")
    entries = manifests.describe(tmp_path)
    assert [(e.path, e.size) for e in entries] == [("a.txt", 0), ("sub/b.bin", 2)]
    assert entries[0].sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_round_trip() -> None:
    meta = {
        "baseModel": BaseModel("s3://models/tiny", "ab" * 32),
        "datasetSha256": "cd" * 32,
        "config": {"method": "lora", "nested": {"rank": 8}},
        "libraries": {"torch": "2.13.0"},
        "createdBy": Owner("team", "demo", "1234"),
    }
    made = manifests.build("adapter", (FileEntry("a", 1, "ef" * 32),), meta)
    data = manifests.serialise(made)
    assert manifests.parse(data, "s3://x/y") == made
    assert json.loads(data)["baseModel"] == {"uri": "s3://models/tiny", "manifestSha256": "ab" * 32}
    assert made.size == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "Expecting"),
        (b"[]", "must be an object"),
        (b'{"schema": 1, "kind": "adapter"}', "files is required"),
        (b'{"schema": 2, "kind": "adapter", "files": []}', "schema 2"),
        (b'{"schema": 1, "kind": "a", "files": [{"path": "../x", "size": 1, "sha256": ""}]}', "outside its folder"),
        (b'{"schema": 1, "kind": "a", "files": [{"path": "/etc/x", "size": 1, "sha256": ""}]}', "outside its folder"),
    ],
)
def test_untrustworthy_manifests(data: bytes, said: str) -> None:
    with pytest.raises(KubeTuneError) as caught:
        manifests.parse(data, "s3://models/tiny")
    assert caught.value.reason == "BadManifest"
    assert said in caught.value.message
    assert "s3://models/tiny/manifest.json" in caught.value.message
