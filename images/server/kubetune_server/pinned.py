"""Folders whose content was prescribed: served from the cache under their digest, or refused when they changed."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from kubetune_contract import uris
from kubetune_shared import artifacts, manifest, sources
from kubetune_shared.contents import COMMIT, FILES, MANIFEST, changed, content_of
from kubetune_shared.sources import LocalModel
from kubetune_shared.store import Store

from .cache import Cached, check_room, described, locked, looks_whole

log = logging.getLogger(__name__)


def obtain_pinned(uri: str, content: str, store: Store, folder: Path, *, keeps: bool) -> Cached:
    """The folder that ``uri`` held when it was admitted with ``content``.

    It lies in the cache ``folder`` under its content, whatever has become of the source since. A claim's folder is
    copied there if the cache ``keeps`` it for the next pod, else it is read through and used where it is mounted.
    Raises KubeTuneError (CHANGED, ContentChanged) when the source holds something else, and as ``cache.obtain`` does.
    """
    if uris.parse(uri).scheme == "pvc" and not keeps:
        return check_mounted(uri, content, store)
    final = cached_at(folder, content)
    with locked(final):
        if is_kept(final, content):
            log.info("%s is in the cache as it was admitted: %s", uri, final)
            return described(final, cached=True, content=content)
        partial = final.with_name(f".{final.name}.partial")
        if final.is_dir():
            # Damaged since: what is still right is kept, the rest fetched again.
            final.rename(partial)
        found = _bring(uri, content, store, partial)
        if found != content:
            shutil.rmtree(partial, ignore_errors=True)
            raise changed(uri, content, found)
        partial.rename(final)
    return described(final, cached=False, content=content)


def cached_at(folder: Path, content: str) -> Path:
    """Where the cache's ``folder`` keeps it: that of a manifest where those lie that nobody prescribed."""
    return folder / content.removeprefix(f"{MANIFEST}:").replace(":", "-")


def check_mounted(uri: str, content: str, store: Store) -> Cached:
    """A claim's folder as it is mounted, once it is seen to hold ``content``."""
    local = sources.resolve_model(uri, store, Path())
    found = content_of(uri, local)
    if found != content:
        raise changed(uri, content, found)
    return Cached(local.path, local.manifest, content, cached=True)


def is_kept(final: Path, content: str) -> bool:
    """Whether the cache has a whole folder of ``content``. One without a manifest is read through: nothing else
    tells; a commit's folder was complete when it got its name."""
    kind, _, digest = content.partition(":")
    listed = final / manifest.NAME
    if not final.is_dir() or kind == COMMIT:
        return final.is_dir()
    if kind == FILES:
        return content_of("pvc://cache/", LocalModel(final, None, None)) == content
    if not listed.is_file() or manifest.file_sha256(listed) != digest:
        return False
    entries = manifest.parse(listed.read_bytes(), str(final)).files
    return looks_whole(final, {entry.path: entry.size for entry in entries})


def _bring(uri: str, content: str, store: Store, partial: Path) -> str:
    """Fills ``partial`` from the source and tells what that holds; the store's manifest tells before the download."""
    kind, _, value = content.partition(":")
    parsed = uris.parse(uri)
    if parsed.scheme == "pvc":
        return _copy(uri, content, store, partial)
    if parsed.scheme == "hf" and kind == COMMIT:
        # The hub keeps what a branch has left behind.
        uri = str(replace(parsed, revision=value))
    if parsed.scheme == "s3":
        published = artifacts.read_manifest(store, uri)
        if published and content != f"{MANIFEST}:{published[1]}":
            return f"{MANIFEST}:{published[1]}"
        sizes = {entry.path: entry.size for entry in (published[0].files if published else store.list(uri))}
        partial.parent.mkdir(parents=True, exist_ok=True)
        check_room(partial, sizes, uri)
    found = content_of(uri, sources.resolve_model(uri, store, partial))
    if parsed.scheme == "s3" and kind == FILES and found != content:
        # A release that fetched second copies of the weights, too, admitted the folder with them.
        artifacts.fetch(store, uri, partial)
        found = content_of(uri, LocalModel(partial, None, None))
    return found


def _copy(uri: str, content: str, store: Store, partial: Path) -> str:
    """What arrived is looked at, not what was there: the folder may change under the copying."""
    source = sources.resolve_model(uri, store, partial).path
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    shutil.rmtree(partial, ignore_errors=True)
    check_room(partial, {name: (source / name).stat().st_size for name in names}, uri)
    for name in names:
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    listed = partial / manifest.NAME
    if not listed.is_file():
        return content_of(uri, LocalModel(partial, None, None))
    data = listed.read_bytes()
    return content_of(uri, LocalModel(partial, manifest.parse(data, uri), manifest.bytes_sha256(data)))
