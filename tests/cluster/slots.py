"""Locks that end with whoever holds them, and the numbered places for images that they guard.

A warm start finds its images where the last cluster left them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_SLOTS = 32


@dataclass(frozen=True)
class Slot:
    """A folder for containerd's content and snapshots, and the descriptor that locks it.

    The lock belongs to the open file, so it lasts until every process that inherited the
    descriptor has ended, however it ended.
    """

    path: Path
    descriptor: int


def lock(path: Path) -> int | None:
    """Take the lock file, creating it; None if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        # Its last holder removed it after it was opened here: this lock would keep nobody out.
        os.close(descriptor)


def release(path: Path, descriptor: int, guarded: Path | None = None) -> None:
    """Let go of the lock, and remove its file if ``guarded``, the folder that it is for, is gone."""
    try:
        if guarded and not guarded.exists():
            # Not after the lock is let go: the file could be another's by then.
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None], guarded: Path | None = None) -> Iterator[None]:
    """Hold the lock file; while another process has it, wait, having said so once. Ends like ``release``."""
    said = False
    while (descriptor := lock(path)) is None:
        if not said:
            waiting()
        said = True
        time.sleep(0.2)
    try:
        yield
    finally:
        release(path, descriptor, guarded)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def take(root: Path) -> Slot:
    """Lock the lowest free slot below root, so that few clusters in turn share one warm slot."""
    for number in range(MAX_SLOTS):
        path = root / f"slot-{number}"
        descriptor = lock(path / "lock")
        if descriptor is not None:
            return Slot(path, descriptor)
    raise RuntimeError(f"all {MAX_SLOTS} image slots in {root} are in use: stop a cluster first")
