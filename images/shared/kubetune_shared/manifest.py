"""The list of a published folder's files with their digests; the one thing readers trust. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kubetune_contract import ContractError, ExitCode, KubeTuneError, Owner, dumps, from_json

NAME = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class FileEntry:
    """One file; ``path`` is relative to the folder, with '/' between its parts."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BaseModel:
    """The model an adapter belongs to. The digest is that of the model's own manifest, where it has one."""

    uri: str
    manifest_sha256: str | None = None
    revision: str | None = None
    """Commit of a model from the hub, whatever name its URI gives the revision."""


@dataclass(frozen=True)
class Manifest:
    """What a published folder holds and what it was made of."""

    schema: int
    kind: str
    """``adapter``, ``model``, ``merged``, ``gguf``, ``report``, ``dataset`` or ``checkpoint``."""
    files: tuple[FileEntry, ...]
    base_model: BaseModel | None = None
    dataset_sha256: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    created_by: Owner | None = None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)


def describe(folder: Path) -> tuple[FileEntry, ...]:
    """The files below ``folder``, sorted by path, without its manifest."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return tuple(
        FileEntry(name, (folder / name).stat().st_size, file_sha256(folder / name)) for name in names if name != NAME
    )


def build(kind: str, files: tuple[FileEntry, ...], meta: dict[str, Any]) -> Manifest:
    """``meta`` holds the manifest's other members under their JSON names (``baseModel``, ``config``, ...)."""
    plain = json.loads(dumps({"schema": SCHEMA, "kind": kind, "files": files, **meta}))
    return from_json(Manifest, plain)


def serialise(manifest: Manifest) -> bytes:
    """Canonical bytes: equal manifests have equal digests."""
    return dumps(manifest).encode()


def parse(data: bytes, where: str) -> Manifest:
    """Raises KubeTuneError (BAD_DATA, BadManifest) when ``data`` is no manifest or names a file outside its folder."""
    try:
        manifest = from_json(Manifest, json.loads(data))
    except (ValueError, ContractError) as error:
        raise bad_manifest(where, str(error).removeprefix("configuration: ")) from error
    if manifest.schema != SCHEMA:
        raise bad_manifest(where, f"has schema {manifest.schema}; this release reads {SCHEMA}")
    for entry in manifest.files:
        if not is_safe(entry.path):
            raise bad_manifest(where, f"names {entry.path!r}, which lies outside its folder")
    return manifest


def bad_manifest(where: str, problem: str) -> KubeTuneError:
    """The error for a manifest that cannot be trusted."""
    return KubeTuneError(
        ExitCode.BAD_DATA, "BadManifest", f"{where}/{NAME} {problem}; publish the folder again or remove its manifest"
    )


def is_safe(path: str) -> bool:
    """True for a relative path that stays inside its folder."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in path


def bytes_sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
