"""The folder of fetched models: one subfolder per content, complete as soon as it bears its name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import ExitCode, KubeTuneError, uris
from kubetune_contract.paths import CACHE_DIR
from kubetune_shared import artifacts, manifest, sources
from kubetune_shared.contents import MANIFEST
from kubetune_shared.manifest import Manifest
from kubetune_shared.store import Store

log = logging.getLogger(__name__)

_HEADROOM = 256 << 20
"""Bytes left free beside a download."""


@dataclass(frozen=True)
class Cached:
    """A folder on this machine with what its manifest says, if it has one."""

    path: Path
    manifest: Manifest | None
    content: str | None
    """See kubetune_contract.Contents; None where it was not looked at."""
    cached: bool
    """True when nothing was downloaded."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


@dataclass(frozen=True)
class _Remote:
    """What a URI stands for right now."""

    key: str
    sizes: dict[str, int]
    """Size by path; empty where it is not known beforehand."""


def cache_root() -> Path:
    return Path(os.environ.get("KUBETUNE_CACHE_DIR", CACHE_DIR))


def obtain(uri: str, store: Store, folder: Path) -> Cached:
    """The folder at ``uri`` below the cache's ``folder``, downloaded and verified unless it is there already.

    pvc:// folders are used where they are mounted. Safe for several pods that share it: one downloads, the
    others wait for it. Raises KubeTuneError as kubetune_shared.sources.resolve_model does, and CacheTooSmall.
    """
    scheme = uris.parse(uri).scheme
    if scheme == "pvc":
        local = sources.resolve_model(uri, store, folder)
        return Cached(local.path, local.manifest, None, cached=True)
    remote = _look_up(uri, scheme, store)
    final = folder / remote.key
    partial = final.with_name(f".{remote.key}.partial")
    with locked(final):
        if final.is_dir() and looks_whole(final, remote.sizes):
            log.info("%s is in the cache: %s", uri, final)
            return described(final, cached=True)
        if final.is_dir():
            # Damaged since: what is still right is kept, the rest fetched again.
            final.rename(partial)
        check_room(partial, remote.sizes, uri)
        sources.resolve_model(uri, store, partial)
        partial.rename(final)
    return described(final, cached=False)


def _look_up(uri: str, scheme: str, store: Store) -> _Remote:
    if scheme != "s3":
        return _Remote(hashlib.sha256(uri.encode()).hexdigest(), {})
    found = artifacts.read_manifest(store, uri)
    if found:
        published, digest = found
        return _Remote(digest, {entry.path: entry.size for entry in published.files})
    wanted = sources.brought(store, uri)
    listed = {entry.path: (entry.size, entry.etag) for entry in store.list(uri) if wanted(entry.path)}
    identity = json.dumps([uri, sorted(listed.items())])
    return _Remote(hashlib.sha256(identity.encode()).hexdigest(), {path: size for path, (size, _) in listed.items()})


def described(folder: Path, *, cached: bool, content: str | None = None) -> Cached:
    """A folder of the cache, which holds ``content``, or what its manifest says."""
    file = folder / manifest.NAME
    if not file.is_file():
        return Cached(folder, None, content, cached)
    data = file.read_bytes()
    told = content or f"{MANIFEST}:{manifest.bytes_sha256(data)}"
    return Cached(folder, manifest.parse(data, str(folder)), told, cached)


def looks_whole(folder: Path, sizes: dict[str, int]) -> bool:
    """Digests were checked on the way in; hashing tens of gigabytes at every start would cost minutes."""
    files = ((folder / path, size) for path, size in sizes.items())
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def check_room(partial: Path, sizes: dict[str, int], uri: str) -> None:
    """Raises KubeTuneError (BAD_CONFIG, CacheTooSmall) when what is not there yet of ``sizes`` does not fit."""
    present = {path for path in sizes if (partial / path).is_file()}
    needed = sum(size for path, size in sizes.items() if path not in present)
    free = shutil.disk_usage(partial.parent).free
    if needed and needed + _HEADROOM > free:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "CacheTooSmall",
            f"{uri} needs {needed / 2**30:.1f} GiB, the cache has {free / 2**30:.1f} GiB free; "
            "give the cache a larger claim, or remove models from it that nothing serves",
        )


@contextmanager
def locked(final: Path) -> Iterator[None]:
    """Keeps other pods from filling the folder ``final`` meanwhile."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with final.with_name(f".{final.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
