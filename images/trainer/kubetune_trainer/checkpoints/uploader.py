"""Checkpoints on their way into the store, in a thread of their own.

Training never waits for an upload. While one is on its way at most the newest checkpoint waits behind it (and the best
one, where that is another); a newer one takes its place. What could not be sent is tried again until it can, or until
a newer one replaces it. Between uploads the run's claim is renewed, which counts the time spent and notices a newer
attempt.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import KubeTuneError
from kubetune_shared.artifacts import publish

from .runstate import Best, Latest, RunState, SupersededError
from .shelf import Checkpoint, Folder, Shelf

HEARTBEAT_SECONDS = 60.0
"""Seconds between renewals of the claim; KUBETUNE_HEARTBEAT_SECONDS changes it."""
STOP_PATIENCE_SECONDS = 20.0
"""How long a pod that was asked to go waits for a store that is away."""
PAUSES = (2.0, 30.0)
"""Shortest and longest time until a failed upload is tried again."""
NO_THREAD = "can't start new thread"
"""What Python says when memory or a limit of the pod does not allow another thread."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint on local disk."""

    step: int
    path: Path
    tokens: int = 0
    eval_loss: float | None = None
    """Validation loss at this very step, where it was evaluated."""
    seconds: float = 0.0
    """Time it took to write."""


@dataclass(frozen=True)
class Stored:
    """One that is complete in the store."""

    step: int
    at: float
    seconds: float
    """From the start of saving to the manifest in the store, without waiting."""


class _NotNeededError(Exception):
    """The checkpoint on its way is not worth its way any more."""


def worth_keeping(waiting: list[Saved], best: float | None) -> list[Saved]:
    """The newest, and the one with the lowest validation loss if that is below ``best``."""
    newest = max(waiting, key=lambda saved: saved.step, default=None)
    lowest = min(
        (saved for saved in waiting if saved.eval_loss is not None and (best is None or saved.eval_loss < best)),
        key=lambda saved: (saved.eval_loss, saved.step),
        default=None,
    )
    return [saved for saved in waiting if saved is newest or saved is lowest]


class Uploader:
    """Takes over local checkpoints and puts them into the store one by one."""

    def __init__(
        self,
        folder: Folder,
        meta: dict[str, Any],
        state: RunState,
        shelf: Shelf,
        report: Callable[[Stored], None],
    ) -> None:
        self._folder, self._meta, self._state, self._shelf, self._report = folder, meta, state, shelf, report
        self._heartbeat = float(os.environ.get("KUBETUNE_HEARTBEAT_SECONDS", HEARTBEAT_SECONDS))
        self._changed = threading.Condition()
        self._waiting: list[Saved] = []
        self._busy: Saved | None = None
        self._failing_since: float | None = None
        self._retry_at, self._pause = 0.0, PAUSES[0]
        self._hurry = self._closed = False
        self._error: SupersededError | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    @property
    def superseded(self) -> bool:
        """True once a newer attempt was seen."""
        return self._error is not None

    def check(self) -> None:
        """Raises SupersededError once a newer attempt was seen."""
        if self._error:
            raise self._error

    def submit(self, saved: Saved) -> None:
        """Takes over ``saved.path``; returns at once."""
        with self._changed:
            self._waiting.append(saved)
            self._drop_surplus()
            self._retry_at = 0.0
            self._changed.notify_all()

    def drain(self, patience: float = STOP_PATIENCE_SECONDS) -> bool:
        """Waits until everything is stored, or the store has been away for ``patience`` seconds; True for the former.

        Raises SupersededError when a newer attempt was seen.
        """
        with self._changed:
            self._hurry, self._retry_at, self._pause = True, 0.0, PAUSES[0]
            self._changed.notify_all()
            began = time.monotonic()
            while self._waiting or self._busy:
                self.check()
                since = self._failing_since
                if since is not None and time.monotonic() - max(since, began) >= patience:
                    return False
                self._changed.wait(0.2)
        self.check()
        return True

    def close(self) -> None:
        """Gives up what is not stored yet; nothing is written any more when this returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _drop_surplus(self) -> None:
        best = self._state.best
        kept = worth_keeping(self._waiting, best.eval_loss if best else None)
        for saved in self._waiting:
            if saved not in kept:
                log.info("checkpoint of step %d is left out: a newer one came before it could be stored", saved.step)
                shutil.rmtree(saved.path, ignore_errors=True)
        self._waiting = kept

    def _work(self) -> None:
        while not (self._closed or self._error):
            saved = self._next()
            if saved:
                self._send(saved)
            elif not self._closed:
                self._beat()

    def _next(self) -> Saved | None:
        """The next one to send; None when it is time for something else."""
        beat = time.monotonic() + self._heartbeat
        with self._changed:
            while not self._closed and (now := time.monotonic()) < beat:
                if self._waiting and now >= self._retry_at:
                    self._busy = max(self._waiting, key=lambda saved: saved.step)
                    self._waiting.remove(self._busy)
                    return self._busy
                until = min(beat, self._retry_at) if self._waiting else beat
                self._changed.wait(max(until - now, 0.01))
        return None

    def _send(self, saved: Saved) -> None:
        try:
            self._upload(saved)
            self._finished(saved)
        except _NotNeededError:
            self._finished(saved)
        except SupersededError as error:
            self._end(error)
        except KubeTuneError as error:
            self._failed(saved, error.message)
        except OSError as error:
            # A full disk, say: training goes on, and so does this thread.
            log.error("checkpoint of step %d could not be stored: %s", saved.step, error)
            self._finished(saved)
        except Exception as error:
            if isinstance(error, MemoryError) or NO_THREAD in str(error):
                # It may be there in a moment, and the files are there still.
                self._failed(saved, str(error) or "main memory ran out")
                return
            log.exception("checkpoint of step %d could not be stored", saved.step)
            self._finished(saved)

    def _beat(self) -> None:
        try:
            self._state.flush()
        except SupersededError as error:
            self._end(error)
        except KubeTuneError as error:
            log.warning("the run's state could not be written, trying again later: %s", error.message)

    def _upload(self, saved: Saved) -> None:
        began = time.monotonic()
        uri = f"{self._folder.uri}/{saved.step}-{self._state.attempt}"
        config = {**self._meta["config"], "step": saved.step, "tokens": saved.tokens}
        publish(
            self._folder.store,
            saved.path,
            uri,
            kind="checkpoint",
            meta={**self._meta, "config": config},
            guard=lambda: self._allow(saved),
        )
        self._record(saved, uri)
        self._report(Stored(saved.step, time.time(), saved.seconds + time.monotonic() - began))
        best = self._state.best
        try:
            self._shelf.tidy(best.uri if best else None)
        except KubeTuneError as error:
            log.warning("old checkpoints in %s could not be removed yet: %s", self._folder.uri, error.message)

    def _record(self, saved: Saved, uri: str) -> None:
        self._shelf.add(Checkpoint(saved.step, uri))
        before, latest = self._state.best, self._state.latest
        best = None
        if saved.eval_loss is not None and (before is None or saved.eval_loss < before.eval_loss):
            best = Best(saved.step, uri, saved.eval_loss)
        if latest is None or saved.step > latest.step:
            self._state.record(latest=Latest(saved.step, uri, time.time()), best=best, tokens=saved.tokens)
        else:
            self._state.record(best=best)

    def _allow(self, saved: Saved) -> None:
        with self._changed:
            newer = any(other.step > saved.step for other in self._waiting)
            if self._closed or (self._hurry and newer):
                raise _NotNeededError
        self._state.confirm()

    def _finished(self, saved: Saved) -> None:
        shutil.rmtree(saved.path, ignore_errors=True)
        with self._changed:
            self._busy, self._failing_since, self._pause = None, None, PAUSES[0]
            self._changed.notify_all()

    def _failed(self, saved: Saved, said: str) -> None:
        with self._changed:
            now = time.monotonic()
            if self._failing_since is None:
                self._failing_since = now
                log.warning(
                    "checkpoint of step %d could not be stored, training goes on and it is sent later: %s",
                    saved.step,
                    said,
                )
            self._busy = None
            self._waiting.append(saved)
            self._drop_surplus()
            self._retry_at = now + self._pause
            self._pause = PAUSES[0] if self._hurry else min(self._pause * 2, PAUSES[1])
            self._changed.notify_all()

    def _end(self, error: SupersededError) -> None:
        log.error("%s", error.message)
        with self._changed:
            self._error = error
            self._busy = None
            self._changed.notify_all()
