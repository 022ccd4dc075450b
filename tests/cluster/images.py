"""Images of a cluster's slot: made from a program, imported from archives, listed, removed."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import CONTAINERD_SOCKET, PAUSE_IMAGE
from .namespaces import ClusterError

if TYPE_CHECKING:
    from .cluster import Cluster

NAMESPACE = "k8s.io"


@dataclass(frozen=True)
class Archived:
    """One tag of an archive and the digest that tells whether the cluster has just that image."""

    name: str
    digest: str


def canonical(name: str) -> str:
    """The image's full name as containerd stores it: ``a/b:1`` is ``docker.io/a/b:1``."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def read_archive(path: Path) -> list[Archived]:
    """Tags of a docker-archive (with config digests) or OCI archive (with manifest digests).

    Raises ClusterError for a file that is neither.
    """
    try:
        with tarfile.open(path) as archive:
            members: dict[str, Any] = {}
            for wanted in ("manifest.json", "index.json"):
                try:
                    file = archive.extractfile(wanted)
                except KeyError:
                    continue
                members[wanted] = json.load(file) if file else None
                break
    except (OSError, tarfile.TarError, ValueError) as error:
        reason = str(error).partition(":")[0]
        raise ClusterError(f"{path} is not a docker-archive or OCI archive: {reason}") from error
    found = tags(members)
    if not found:
        raise ClusterError(f"{path} names no image: write it with 'buildah push IMAGE docker-archive:FILE:TAG'")
    return found


def tags(members: dict[str, Any]) -> list[Archived]:
    """Tags and digests from the parsed ``manifest.json`` or ``index.json`` of an archive."""
    found = []
    for image in members.get("manifest.json") or []:
        config = image["Config"].removesuffix(".json").rpartition("/")[2]
        for tag in image.get("RepoTags") or []:
            found.append(Archived(canonical(tag), f"sha256:{config}"))
    for manifest in (members.get("index.json") or {}).get("manifests", []):
        notes = manifest.get("annotations", {})
        name = notes.get("io.containerd.image.name")
        name = name or notes.get("org.opencontainers.image.ref.name")
        if name:
            found.append(Archived(canonical(name), manifest["digest"]))
    return found


def is_present(image: Archived, records: dict[str, str]) -> bool:
    """Whether containerd's records, name to manifest digest, hold exactly this image.

    The runtime keeps a second record of each image, named by its config digest.
    """
    digest = records.get(image.name)
    return digest is not None and digest in (image.digest, records.get(image.digest))


def ctr(cluster: Cluster, *arguments: str, stdin: Any = subprocess.DEVNULL) -> str:
    """Run ctr on the cluster's containerd; return what it printed."""
    command = [str(cluster.layout.bin / "ctr"), "--address", CONTAINERD_SOCKET]
    done = subprocess.run(
        cluster.enter([*command, "--namespace", NAMESPACE, *arguments]),
        stdin=stdin,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ClusterError(f"ctr {' '.join(arguments)} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def records(cluster: Cluster) -> dict[str, str]:
    """containerd's image records: name to manifest digest."""
    lines = ctr(cluster, "images", "ls").splitlines()[1:]
    return {fields[0]: fields[2] for fields in (line.split() for line in lines)}


def present(cluster: Cluster) -> list[str]:
    """Full names of the images that pods can use."""
    return [name for name in records(cluster) if not name.startswith("sha256:")]


def load(cluster: Cluster, archives: Sequence[Path], say: Callable[[str], None]) -> None:
    """Import the archives whose images the cluster does not have already."""
    for path in archives:
        wanted = read_archive(path)
        have = records(cluster)
        if all(is_present(image, have) for image in wanted):
            say(f"{path.name}: present")
            continue
        started = time.monotonic()
        say(f"{path.name}: importing {path.stat().st_size / 2**20:.0f} MiB ...")
        with open(path, "rb") as file:
            ctr(cluster, "images", "import", "--snapshotter", "overlayfs", "-", stdin=file)
        say(f"{path.name}: imported in {time.monotonic() - started:.0f} s")


def prune(cluster: Cluster, keep: Iterable[str]) -> list[str]:
    """Remove every image but those to keep and the sandbox's; return the removed names."""
    staying = {canonical(name) for name in keep} | {canonical(PAUSE_IMAGE)}
    have = records(cluster)
    kept = {digest for name, digest in have.items() if name in staying}
    # Records by config digest go with the last tag of their image.
    removed = [
        name
        for name, digest in have.items()
        if name not in staying and not (name.startswith("sha256:") and digest in kept)
    ]
    if removed:
        ctr(cluster, "images", "rm", "--sync", *removed)
    return [name for name in removed if not name.startswith("sha256:")]


def single_program_archive(name: str, program: bytes) -> bytes:
    """A docker-archive of an image that holds nothing but one static program, its entrypoint."""
    binary = name.rpartition("/")[2].partition(":")[0]
    layer = _tar({binary: (program, 0o755)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{binary}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
        }
    ).encode()
    manifest = [{"Config": f"{_sha256(config)}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "layer.tar": (layer, 0o644),
            f"{_sha256(config)}.json": (config, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    """An archive whose bytes depend on nothing but the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
