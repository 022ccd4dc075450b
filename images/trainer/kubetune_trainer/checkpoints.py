"""Checkpoints in the object store: written in the background, complete when their manifest is there, newest first.

Each lies in ``<output>/checkpoints/<step>-<attempt>/``; the attempt keeps two pods of one job from writing into the
same folder.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import KubeTuneError
from kubetune_shared.artifacts import fetch, publish, read_manifest
from kubetune_shared.store import Store

KEEP = 2
"""Complete checkpoints kept in the store: the newest, and the one before in case that is damaged."""
_NAME = re.compile(r"(?P<step>\d+)-(?P<attempt>\w+)/manifest\.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One in the store."""

    step: int
    uri: str


def complete(store: Store, folder: str) -> list[Checkpoint]:
    """Checkpoints that have a manifest, newest first."""
    found = (_NAME.fullmatch(entry.path) for entry in store.list(folder))
    named = [(int(match["step"]), match["attempt"]) for match in found if match]
    return [Checkpoint(step, f"{folder}/{step}-{attempt}") for step, attempt in sorted(named, reverse=True)]


def restore(store: Store, folder: str, config_sha256: str, dest: Path) -> tuple[int, Path] | None:
    """Fetches the newest checkpoint that is whole and belongs to this configuration; None when there is none.

    Damaged ones are passed over with a warning. Raises KubeTuneError when the store cannot be read at all.
    """
    for checkpoint in complete(store, folder):
        target = dest / f"checkpoint-{checkpoint.step}"
        shutil.rmtree(target, ignore_errors=True)
        try:
            found = read_manifest(store, checkpoint.uri)
            if not found or found[0].config.get("configSha256") != config_sha256:
                log.warning("checkpoint %s belongs to another configuration; passed over", checkpoint.uri)
                continue
            fetch(store, checkpoint.uri, target)
        except KubeTuneError as error:
            if error.reason in {"StoreUnavailable", "AccessDenied"}:
                raise
            log.warning("checkpoint %s is damaged (%s); trying the one before", checkpoint.uri, error.message)
            continue
        return checkpoint.step, target
    return None


def clear(store: Store, folder: str) -> None:
    """Removes every checkpoint of a job whose artifact is published; a store that refuses is only a warning."""
    try:
        store.delete_folder(folder)
    except KubeTuneError as error:
        log.warning("checkpoints in %s could not be removed: %s", folder, error.message)


class Uploader:
    """Publishes checkpoints one by one in a thread; a failed upload is a warning, the next one a new chance."""

    def __init__(self, store: Store, folder: str, meta: dict[str, Any], stored: Callable[[int], None]) -> None:
        self._store, self._folder, self._meta, self._stored = store, folder, meta, stored
        self._attempt = secrets.token_hex(4)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self.last: int | None = None
        """Step of the newest checkpoint known to be complete in the store."""

    def submit(self, step: int, path: Path) -> None:
        """Takes over the folder ``path``; waits while the checkpoint before is still on its way."""
        self.drain()
        self._pending = self._pool.submit(self._upload, step, path)

    def drain(self) -> None:
        """Waits until nothing is on its way."""
        if self._pending:
            self._pending.result()
            self._pending = None

    def _upload(self, step: int, path: Path) -> None:
        meta = {**self._meta, "config": {**self._meta["config"], "step": step}}
        try:
            publish(self._store, path, f"{self._folder}/{step}-{self._attempt}", kind="checkpoint", meta=meta)
            self.last = step
            self._stored(step)
            for old in complete(self._store, self._folder)[KEEP:]:
                # The manifest goes first, so that nobody trusts what is left of the rest.
                self._store.delete(f"{old.uri}/manifest.json")
                self._store.delete_folder(old.uri)
        except KubeTuneError as error:
            log.warning("checkpoint of step %d could not be stored: %s", step, error.message)
        finally:
            shutil.rmtree(path, ignore_errors=True)
