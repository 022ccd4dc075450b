"""Folders in the object store: published with their manifest last, fetched with every file verified."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kubetune_contract import Artifact, ExitCode, KubeTuneError

from . import manifest as manifests
from .manifest import FileEntry, Manifest
from .neighbours import stored_nearby
from .store import ConflictError, Store, UnsupportedError

WORKERS = 8
"""Transfers at a time."""

log = logging.getLogger(__name__)
T = TypeVar("T")


def publish(  # noqa: PLR0913 (what, where, as what, and by whose leave)
    store: Store,
    folder: Path,
    uri: str,
    *,
    kind: str,
    meta: dict[str, Any],
    guard: Callable[[], None] | None = None,
) -> Artifact:
    """Uploads ``folder`` below ``uri``; the manifest goes last, so that a reader never sees half of it.

    Publishing the same content again uploads nothing. ``meta`` holds the manifest's other members (see Manifest).
    ``guard`` is asked before every change and raises when this process must not make it; with one, a manifest that
    somebody else has written in the meantime is not replaced without asking again.
    """
    allowed = guard or _nobody_minds
    uri = uri.rstrip("/")
    manifest = manifests.build(kind, manifests.describe(folder), meta)
    data = manifests.serialise(manifest)
    artifact = Artifact(uri, kind, manifests.bytes_sha256(data), manifest.size)
    present = store.find(f"{uri}/{manifests.NAME}")
    if present == data:
        return artifact
    if present is not None:
        # Without this a reader could pair the old manifest with new files.
        allowed()
        store.delete(f"{uri}/{manifests.NAME}")

    def upload(entry: FileEntry) -> None:
        allowed()
        store.upload(folder / entry.path, f"{uri}/{entry.path}")

    in_parallel(upload, manifest.files)
    allowed()
    _write_manifest(store, data, f"{uri}/{manifests.NAME}", allowed)
    log.info("published %s: %d files, %d bytes", uri, len(manifest.files), manifest.size)
    return artifact


def read_manifest(store: Store, uri: str) -> tuple[Manifest, str] | None:
    """The manifest of a published folder with its SHA-256, or None when the folder has none."""
    data = store.find(f"{uri.rstrip('/')}/{manifests.NAME}")
    return None if data is None else (manifests.parse(data, uri), manifests.bytes_sha256(data))


def fetch(store: Store, uri: str, dest: Path, wanted: Callable[[str], bool] = lambda path: True) -> Manifest | None:
    """Downloads the files ``wanted`` of the folder at ``uri`` to ``dest``; its manifest ends up there too.

    Files already in ``dest`` with the right digest are kept, so an interrupted fetch goes on where it stopped. A
    folder without manifest is taken as listed (someone's own upload) and None is returned.

    Raises KubeTuneError: INPUT_NOT_FOUND when there is nothing, BAD_DATA (ChecksumMismatch) when a file is not what
    the manifest says.
    """
    uri = uri.rstrip("/")
    dest.mkdir(parents=True, exist_ok=True)
    data = store.find(f"{uri}/{manifests.NAME}")
    if data is None:
        _fetch_listed(store, uri, dest, wanted)
        return None
    manifest = manifests.parse(data, uri)
    files = [entry for entry in manifest.files if wanted(entry.path)]
    in_parallel(lambda entry: _fetch_verified(store, uri, dest, entry), files)
    _replace(dest / manifests.NAME, lambda path: path.write_bytes(data))
    return manifest


def in_parallel(task: Callable[[T], Any], items: Iterable[T]) -> None:
    """Runs ``task`` on every item, WORKERS at a time; the first failure is raised and nothing new is started."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(task, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _nobody_minds() -> None:
    """The guard of those who need none."""


def _write_manifest(store: Store, data: bytes, uri: str, allowed: Callable[[], None]) -> None:
    try:
        store.put_if(data, uri, None)
    except UnsupportedError:
        store.write(data, uri)
    except ConflictError:
        allowed()
        store.write(data, uri)


def _fetch_listed(store: Store, uri: str, dest: Path, wanted: Callable[[str], bool]) -> None:
    listed = store.list(uri)
    if not listed:
        there = stored_nearby(store, uri)
        raise KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "ObjectNotFound",
            f"{uri}: no folder is stored there{f'; {there}' if there else ''}. Correct the URI or upload the folder",
        )
    unsafe = [found.path for found in listed if not manifests.is_safe(found.path)]
    if unsafe:
        raise KubeTuneError(ExitCode.BAD_DATA, "UnsafePath", f"{uri}: refuses the object name {unsafe[0]!r}")

    def one(found: Any) -> None:
        target = dest / found.path
        if not (target.is_file() and target.stat().st_size == found.size):
            _replace(target, lambda path: store.download(f"{uri}/{found.path}", path))

    in_parallel(one, [found for found in listed if wanted(found.path)])


def _fetch_verified(store: Store, uri: str, dest: Path, entry: FileEntry) -> None:
    target = dest / entry.path
    if target.is_file() and target.stat().st_size == entry.size and manifests.file_sha256(target) == entry.sha256:
        return

    def download(path: Path) -> None:
        found = store.download(f"{uri}/{entry.path}", path)
        if found != entry.sha256:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "ChecksumMismatch",
                f"{uri}/{entry.path} has SHA-256 {found[:12]}..., its manifest says {entry.sha256[:12]}...; "
                "the object was changed after it was published, publish it again",
            )

    _replace(target, download)


def _replace(target: Path, write: Callable[[Path], Any]) -> None:
    """Puts a complete file at ``target`` or leaves it as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        write(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
