"""Archives of images: reading them, telling whether their images are there, making small ones."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.cluster import ClusterError, images
from tests.cluster.images import Archived


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("kubetune/trainer:dev", "docker.io/kubetune/trainer:dev"),
        ("localhost/kubetune/trainer:dev", "localhost/kubetune/trainer:dev"),
        ("localhost:5000/trainer", "localhost:5000/trainer:latest"),
        ("ghcr.io/kubetune/trainer:1.0", "ghcr.io/kubetune/trainer:1.0"),
    ],
)
def test_names_as_the_runtime_stores_them(name: str, full: str) -> None:
    assert images.canonical(name) == full


def test_tags_of_both_archive_formats() -> None:
    docker = {"manifest.json": [{"Config": "abc.json", "RepoTags": ["a/b:1", "a/b:2"]}]}
    blobs = {"manifest.json": [{"Config": "blobs/sha256/abc", "RepoTags": ["a/b:1"]}]}
    note = {"io.containerd.image.name": "localhost/c:1"}
    oci = {"index.json": {"manifests": [{"digest": "sha256:def", "annotations": note}, {"digest": "sha256:0"}]}}
    assert images.tags(docker) == [
        Archived("docker.io/a/b:1", "sha256:abc"),
        Archived("docker.io/a/b:2", "sha256:abc"),
    ]
    assert images.tags(blobs) == [Archived("docker.io/a/b:1", "sha256:abc")]
    assert images.tags(oci) == [Archived("localhost/c:1", "sha256:def")]


def test_an_image_is_present_under_its_name_with_its_content() -> None:
    records = {"localhost/a:1": "sha256:manifest", "sha256:config": "sha256:manifest"}
    assert images.is_present(Archived("localhost/a:1", "sha256:config"), records)
    assert images.is_present(Archived("localhost/a:1", "sha256:manifest"), records)
    assert not images.is_present(Archived("localhost/a:1", "sha256:other"), records)
    assert not images.is_present(Archived("localhost/a:2", "sha256:config"), records)


def test_made_archive_is_whole_and_always_the_same(tmp_path: Path) -> None:
    archive = images.single_program_archive("example.org/pause:1", b"program")
    assert archive == images.single_program_archive("example.org/pause:1", b"program")
    path = tmp_path / "pause.tar"
    path.write_bytes(archive)
    with tarfile.open(path) as opened:
        members = {m.name: opened.extractfile(m).read() for m in opened.getmembers()}  # type: ignore[union-attr]
    config_name = json.loads(members["manifest.json"])[0]["Config"]
    config = json.loads(members[config_name])
    assert config_name == f"{hashlib.sha256(members[config_name]).hexdigest()}.json"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(members['layer.tar']).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(members["layer.tar"])) as layer:
        assert layer.getmember("pause").mode == 0o755
    assert images.read_archive(path) == [Archived("example.org/pause:1", f"sha256:{config_name[:-5]}")]


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_text("nothing")
    with pytest.raises(ClusterError, match=r"x\.tar is not a docker-archive or OCI archive"):
        images.read_archive(path)
    with tarfile.open(path, "w"):
        pass
    with pytest.raises(ClusterError, match="names no image"):
        images.read_archive(path)
