"""Checkpoints in the object store: complete when their manifest is there, chosen with care, cleared away in time.

Each lies in ``<output>/checkpoints/<step>-<attempt>/``; the attempt keeps two pods of one job from writing into the
same folder.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kubetune_contract import KubeTuneError
from kubetune_shared.artifacts import fetch, read_manifest
from kubetune_shared.manifest import NAME, Manifest
from kubetune_shared.store import Store, is_out_of_reach
from kubetune_trainer.identity import recorded_identity, recorded_settings

from .runstate import Beginning, Latest

_FOLDER = re.compile(r"(?P<step>\d+)-(?P<attempt>\w+)/(?P<file>.+)")

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Checkpoint:
    """One in the store."""

    step: int
    uri: str


@dataclass(frozen=True)
class Folder:
    """Where a run's checkpoints lie."""

    store: Store
    uri: str


@dataclass(frozen=True)
class Restored:
    """One that was fetched and found whole."""

    step: int
    uri: str
    path: Path
    tokens: int
    """Tokens learned up to it."""
    beginning: Beginning = field(default_factory=Beginning)
    """What it was learned from."""


def stored(folder: Folder) -> list[Checkpoint]:
    """All that lie there, whole or not, newest first."""
    return _listed(folder, complete_only=False)


def complete(folder: Folder) -> list[Checkpoint]:
    """Checkpoints that have a manifest, newest first."""
    return _listed(folder, complete_only=True)


def restore(
    folder: Folder, settings_sha256: str, dest: Path, latest: Latest | None = None, before: int | None = None
) -> Restored | None:
    """Fetches the newest checkpoint that is whole and belongs to these settings; None when there is none.

    Damaged ones are passed over with a warning, and so are those newer than ``latest``, where it is known: no attempt
    in charge has recorded them. ``before`` leaves out those that are not before this step. Raises KubeTuneError when
    the store cannot be read at all.
    """
    for checkpoint in candidates(complete(folder), latest):
        if before is not None and checkpoint.step >= before:
            continue
        target = dest / f"checkpoint-{checkpoint.step}"
        shutil.rmtree(target, ignore_errors=True)
        try:
            found = read_manifest(folder.store, checkpoint.uri)
            if not found or recorded_settings(found[0].config) != settings_sha256:
                log.warning("checkpoint %s was made with other settings; passed over", checkpoint.uri)
                continue
            fetch(folder.store, checkpoint.uri, target)
        except KubeTuneError as error:
            if is_out_of_reach(error):
                raise
            log.warning("checkpoint %s is damaged (%s); trying the one before", checkpoint.uri, error.message)
            continue
        manifest = found[0]
        tokens = manifest.config.get("tokens")
        learned = tokens if isinstance(tokens, int) else 0
        return Restored(checkpoint.step, checkpoint.uri, target, learned, noted_beginning(manifest))
    return None


def noted_beginning(manifest: Manifest) -> Beginning:
    """What a checkpoint or a result was learned from, whichever release wrote its manifest."""
    run, base = recorded_identity(manifest.config), manifest.base_model
    if run:
        return Beginning(manifest.dataset_sha256, run.base)
    if base and (base.manifest_sha256 or base.revision):
        name = f"manifest:{base.manifest_sha256}" if base.manifest_sha256 else f"commit:{base.revision}"
        return Beginning(manifest.dataset_sha256, name)
    return Beginning(manifest.dataset_sha256)


def learned_from(folder: Folder, settings_sha256: str) -> Beginning:
    """What the newest checkpoint with these settings was learned from, as far as that is known."""
    for checkpoint in complete(folder):
        try:
            found = read_manifest(folder.store, checkpoint.uri)
        except KubeTuneError as error:
            if is_out_of_reach(error):
                raise
            continue
        if found and recorded_settings(found[0].config) == settings_sha256:
            return noted_beginning(found[0])
    return Beginning()


def candidates(found: Iterable[Checkpoint], latest: Latest | None) -> list[Checkpoint]:
    """Those that may be gone on from, best first."""
    newest_first = sorted(found, reverse=True)
    if latest is None:
        return newest_first
    recorded = [checkpoint for checkpoint in newest_first if checkpoint.uri == latest.uri]
    if not recorded:
        log.warning("the last checkpoint, of step %d, is not in the store any more", latest.step)
    return recorded + [checkpoint for checkpoint in newest_first if checkpoint.step < latest.step]


def clear(folder: Folder) -> None:
    """Removes every checkpoint of a job whose artifact is published; a store that refuses is only a warning."""
    try:
        folder.store.delete_folder(folder.uri)
    except KubeTuneError as error:
        log.warning("checkpoints in %s could not be removed: %s", folder.uri, error.message)


class Shelf:
    """Knows which checkpoints this attempt may remove: its own, and those that were there when it took charge.

    An attempt that was cut off for a while therefore never touches what its successor has stored.
    """

    def __init__(self, store: Store, keep: int, inherited: Iterable[Checkpoint] = (), resumed: int = -1) -> None:
        """``resumed`` is the step this attempt goes on from; what it found beyond that is of no use."""
        self._store, self._keep = store, max(keep, 1)
        self._useless = [checkpoint for checkpoint in inherited if checkpoint.step > resumed]
        self._known = [checkpoint for checkpoint in inherited if checkpoint.step <= resumed]

    def add(self, checkpoint: Checkpoint) -> None:
        """One of this attempt's own."""
        if checkpoint not in self._known:
            self._known.append(checkpoint)

    def tidy(self, best: str | None) -> None:
        """Removes all but the newest, and the one at ``best``."""
        surplus = [*self._useless, *outdated(self._known, self._keep, best)]
        for old in surplus:
            # The manifest goes first, so that nobody trusts what is left of the rest.
            self._store.delete(f"{old.uri}/{NAME}")
            self._store.delete_folder(old.uri)
            if old in self._known:
                self._known.remove(old)
        self._useless = []


def outdated(known: Iterable[Checkpoint], keep: int, best: str | None) -> list[Checkpoint]:
    """All but the ``keep`` newest and the one at ``best``."""
    return [checkpoint for checkpoint in sorted(known, reverse=True)[keep:] if checkpoint.uri != best]


def _listed(folder: Folder, *, complete_only: bool) -> list[Checkpoint]:
    found = (_FOLDER.fullmatch(entry.path) for entry in folder.store.list(folder.uri))
    named = {
        (int(match["step"]), match["attempt"])
        for match in found
        if match and (match["file"] == NAME or not complete_only)
    }
    return sorted((Checkpoint(step, f"{folder.uri}/{step}-{attempt}") for step, attempt in named), reverse=True)
