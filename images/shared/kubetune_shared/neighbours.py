"""What there is where something was looked for in vain: a wrong key is most often a neighbour of the right one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kubetune_contract import KubeTuneError

from .store import Store, s3_uri

SHOWN = 5
Listing = Callable[[str], Sequence[str]]
"""Folder ('' is the top) -> names in it, folders with a ``/`` at their end."""


def stored_nearby(store: Store, uri: str) -> str:
    """A sentence's end about what is at or around ``uri`` in its bucket; empty when that cannot be told."""
    target = s3_uri(uri)
    try:
        return nearby(f"s3://{target.authority}", target.path, lambda folder: store.children(target.authority, folder))
    except KubeTuneError:
        return ""


def mounted_nearby(root: Path, top: str, path: str) -> str:
    """The same for a mounted claim or ConfigMap at ``root``, which is told as ``top``."""

    def names(folder: str) -> list[str]:
        found = (root / folder).iterdir() if (root / folder).is_dir() else ()
        # ConfigMaps and claims hold entries of Kubernetes' own, which begin with two dots.
        return sorted(f"{p.name}/" if p.is_dir() else p.name for p in found if not p.name.startswith(".."))

    try:
        return nearby(top, path, names)
    except OSError:
        return ""


def nearby(top: str, path: str, names: Listing) -> str:
    """``path`` itself if it is a folder, else the names most like it in the nearest folder that there is."""
    inside = names(path) if path else ()
    if inside:
        return f"{top}/{path}/ is a folder; it has: {_some(inside, '')}"
    while path:
        folder, _, wanted = path.rpartition("/")
        beside = names(folder)
        if wanted in beside:
            return f"{top}/{path} is a file, not a folder"
        if beside:
            return f"{top}/{folder}{'/' if folder else ''} has: {_some(beside, wanted)}"
        path = folder
    return f"{top}/ is empty"


def _some(names: Iterable[str], wanted: str) -> str:
    """Those most like ``wanted``, of many."""
    found = list(names)
    if wanted:
        found.sort(key=lambda name: -difflib.SequenceMatcher(None, wanted, name.rstrip("/")).ratio())
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
