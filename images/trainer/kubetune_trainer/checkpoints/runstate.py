"""What a run must not forget between its pods, and which of them is the one in charge.

``<output>/run.json`` is one small document that is only ever replaced by compare-and-swap on its ETag. A pod claims it
before it trains; from then on every older pod of the same object finds its own writes refused and ends as SUPERSEDED,
so that a pod cut off from its cluster can neither hide a newer checkpoint nor replace a newer result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubetune_contract import ContractError, ExitCode, KubeTuneError, RecoveryStep, dumps, from_json
from kubetune_shared.store import ConflictError, Store, UnsupportedError

SCHEMA = 1
NAME = "run.json"
CLAIMS = 5
"""Tries to claim a document that others change at the same time."""
READS = 4
"""Times the document is read again when content and ETag do not fit."""
SWAPS = 3
"""Tries to replace it once it is ours."""

log = logging.getLogger(__name__)


class SupersededError(KubeTuneError):
    """Another pod of the same object has claimed the run."""

    def __init__(self, by: str) -> None:
        super().__init__(
            ExitCode.SUPERSEDED,
            "Superseded",
            f"a newer attempt ({by}) has taken over this run; this one stops and writes nothing more",
        )


@dataclass(frozen=True)
class Latest:
    """The newest complete checkpoint."""

    step: int
    uri: str
    at: float | None = None
    """When it was complete, in seconds since the epoch (UTC)."""


@dataclass(frozen=True)
class Best:
    """The checkpoint with the lowest validation loss."""

    step: int
    uri: str
    eval_loss: float


@dataclass(frozen=True)
class RunDocument:
    """Content of ``run.json``."""

    schema: int
    generation: int
    """How many attempts have claimed the run."""
    attempt: str
    """The attempt in charge."""
    settings_sha256: str | None = None
    """The settings it runs with; None where a release before identities wrote it, of a run that they belong to."""
    latest: Latest | None = None
    best: Best | None = None
    active_seconds: float = 0.0
    tokens: int = 0
    """Tokens learned up to ``latest``."""
    dataset_sha256: str | None = None
    """The rows it learns from; None until an attempt has begun to."""
    base: str | None = None
    """The base model's content, as ``kubetune_shared.base_identity`` names it; noted together with the rows."""
    base_files: str | None = None
    """The digests of its files, by which it is known again under another name; None for one from a hub."""
    recovery: tuple[RecoveryStep, ...] = ()
    precision: str | None = None
    """Of the matrix products; None until an attempt has begun to learn."""
    per_token: bool = False
    """How validation losses are measured: per learned token, or by batches, as a release did that wrote no such member.
    A run keeps to what it began with, because early stopping and the best checkpoint compare them."""


@dataclass(frozen=True)
class Beginning:
    """What a run began to learn from; a part is None where nobody has noted it."""

    dataset_sha256: str | None = None
    base: str | None = None
    base_files: str | None = None


class RunState:
    """The document as this attempt knows it. Thread-safe.

    Whatever is set is written at once, or with the next write where the store was away. Every write raises
    SupersededError once a newer attempt holds the run.
    """

    def __init__(
        self, store: Store, uri: str, document: RunDocument, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._uri, self._document, self._now = store, uri, document, now
        self._etag: str | None = None
        self._conditional = True
        self._superseded: SupersededError | None = None
        self._unwritten = False
        self._earlier, self._since = document.active_seconds, now()
        self._lock = threading.RLock()

    @classmethod
    def claim(
        cls, store: Store, folder: str, settings_sha256: str, *, now: Callable[[], float] = time.monotonic
    ) -> RunState:
        """Takes charge of the run below ``folder`` (the object's ``output``).

        What is known of a run with other settings is forgotten, but for its time. Raises KubeTuneError when
        the store does not answer or refuses.
        """
        uri = f"{folder.rstrip('/')}/{NAME}"
        attempt = secrets.token_hex(4)
        for _ in range(CLAIMS):
            found = _read(store, uri)
            before = _parse(found[0], uri) if found else None
            state = cls(store, uri, _successor(before, attempt, settings_sha256), now=now)
            state._etag = found[1] if found else None
            try:
                state._claim()
            except SupersededError:
                continue
            log.info("attempt %s (number %d) is in charge of %s", attempt, state._document.generation, folder)
            return state
        raise KubeTuneError(
            ExitCode.UNAVAILABLE, "RunBusy", f"{uri} was changed {CLAIMS} times while this attempt tried to claim it"
        )

    @classmethod
    def unclaimed(cls, store: Store, folder: str, settings_sha256: str) -> RunState:
        """For a training process that only follows (see ``follow``)."""
        return cls(store, f"{folder.rstrip('/')}/{NAME}", RunDocument(SCHEMA, 0, "", settings_sha256))

    @property
    def document(self) -> RunDocument:
        """All of it, for the attempt's other training processes."""
        return self._document

    def follow(self, document: RunDocument) -> None:
        """Takes over what the attempt's first training process knows: the others only read."""
        self._document = document

    @property
    def attempt(self) -> str:
        """Names this attempt; part of its checkpoints' names."""
        return self._document.attempt

    @property
    def generation(self) -> int:
        """1 for the first attempt."""
        return self._document.generation

    @property
    def latest(self) -> Latest | None:
        """The newest checkpoint known to be complete in the store."""
        return self._document.latest

    @property
    def best(self) -> Best | None:
        """The stored checkpoint with the lowest validation loss."""
        return self._document.best

    @property
    def recovery(self) -> tuple[RecoveryStep, ...]:
        """What was done so far to save the run; the last one's settings hold."""
        return self._document.recovery

    @property
    def rollbacks(self) -> int:
        """How often the run went back to an earlier checkpoint because it had diverged."""
        return sum(step.action == "rollback" for step in self._document.recovery)

    @property
    def tokens(self) -> int:
        """Tokens learned up to the latest checkpoint."""
        return self._document.tokens

    @property
    def beginning(self) -> Beginning:
        """What this run has begun to learn from."""
        return _beginning(self._document)

    @property
    def precision(self) -> str | None:
        """Of the matrix products so far."""
        return self._document.precision

    @property
    def per_token(self) -> bool:
        """Whether this run's validation losses are per learned token; see RunDocument."""
        return self._document.per_token

    @property
    def active_seconds(self) -> float:
        """Time all attempts have spent in training, this one's up to now."""
        return self._earlier + self._now() - self._since

    def record(self, *, latest: Latest | None = None, best: Best | None = None, tokens: int | None = None) -> None:
        """Notes a checkpoint that is complete; ``tokens`` are those learned up to ``latest``."""
        self._change(**{k: v for k, v in {"latest": latest, "best": best, "tokens": tokens}.items() if v is not None})

    def learns_from(self, beginning: Beginning) -> None:
        """Notes rows and base, each once; they are in the store when this returns."""
        with self._lock:
            known = dataclasses.asdict(self.beginning)
            new = {
                name: value for name, value in dataclasses.asdict(beginning).items() if known[name] is None and value
            }
            if new:
                self._change(**new)
            elif self._unwritten:
                self.flush()

    def computes_in(self, precision: str) -> None:
        """Notes the precision; it is in the store when this returns."""
        with self._lock:
            if self.precision != precision:
                self._change(precision=precision)
            elif self._unwritten:
                self.flush()

    def rewind(self, latest: Latest | None, tokens: int = 0) -> None:
        """Goes back to an earlier checkpoint (None: to the beginning); a best one that came after is forgotten."""
        best = self.best
        kept = best if best and latest and best.step <= latest.step else None
        self._change(latest=latest, best=kept, tokens=tokens)

    def add_recovery(self, step: RecoveryStep) -> None:
        """Notes what was done to save the run; it is in the store when this returns."""
        with self._lock:
            self._change(recovery=(*self._document.recovery, step))

    def flush(self) -> None:
        """Writes the time spent so far, and whatever could not be written before. Also asks: still in charge?"""
        self._change()

    def confirm(self) -> None:
        """Raises SupersededError when a newer attempt holds the run; reads only."""
        with self._lock:
            if self._superseded:
                raise self._superseded
            try:
                self._check()
            except SupersededError as error:
                self._superseded = error
                raise

    def _change(self, **values: Any) -> None:
        with self._lock:
            self._document = dataclasses.replace(self._document, **values)
            self._unwritten = True
            self._write()
            self._unwritten = False

    def _serialised(self) -> bytes:
        return dumps(dataclasses.replace(self._document, active_seconds=round(self.active_seconds, 3))).encode()

    def _claim(self) -> None:
        """Raises SupersededError when somebody was faster."""
        try:
            self._swap(self._serialised())
            try:
                self._store.put_if(self._serialised(), self._uri, '"00000000000000000000000000000000"')
            except ConflictError:
                return
        except UnsupportedError:
            self._store.write(self._serialised(), self._uri)
        self._conditional = False
        log.warning(
            "the object store has no conditional writes: two pods of this run at the same moment could both write; "
            "each checks that it is in charge before every write instead"
        )

    def _write(self) -> None:
        if self._superseded:
            raise self._superseded
        try:
            if self._conditional:
                self._swap(self._serialised())
            else:
                self._check()
                self._store.write(self._serialised(), self._uri)
        except SupersededError as error:
            self._superseded = error
            raise

    def _swap(self, data: bytes) -> None:
        for _ in range(SWAPS):
            try:
                self._etag = self._store.put_if(data, self._uri, self._etag)
                return
            except ConflictError:
                # An answer lost on its way makes the client try again, and meet its own document.
                self._etag = self._check()
        raise KubeTuneError(ExitCode.UNAVAILABLE, "StoreUnavailable", f"{self._uri} cannot be replaced: it changes")

    def _check(self) -> str | None:
        """The present ETag, None when the document is gone; raises SupersededError when it is somebody else's."""
        found = _read(self._store, self._uri)
        if found is None:
            return None
        document = _parse(found[0], self._uri)
        if document is None or document.attempt != self.attempt:
            raise SupersededError(document.attempt if document else "unknown")
        return found[1]


def known_beginning(store: Store, folder: str, settings_sha256: str) -> Beginning:
    """What the run below ``folder`` learns from with these settings, as far as it is noted there."""
    uri = f"{folder.rstrip('/')}/{NAME}"
    found = _read(store, uri)
    document = _parse(found[0], uri) if found else None
    return _beginning(document) if document and _is_of(document, settings_sha256) else Beginning()


def _beginning(document: RunDocument) -> Beginning:
    return Beginning(document.dataset_sha256, document.base, document.base_files)


def _is_of(document: RunDocument, settings_sha256: str) -> bool:
    return document.settings_sha256 in {None, settings_sha256}


def _read(store: Store, uri: str) -> tuple[bytes, str] | None:
    """Content and ETag that belong together.

    A store may answer with the old content and the new ETag while the document is being replaced, and so let the reader
    replace what it never saw. Where ETags are MD5 digests, as for most stores, that shows; elsewhere it is believed.
    """
    found = store.find_tagged(uri)
    for _ in range(READS):
        if found is None or hashlib.md5(found[0], usedforsecurity=False).hexdigest() == found[1].strip('"'):
            break
        time.sleep(0.05)
        found = store.find_tagged(uri)
    return found


def _parse(data: bytes, uri: str) -> RunDocument | None:
    try:
        document = from_json(RunDocument, json.loads(data))
    except (ValueError, ContractError) as error:
        log.warning("%s cannot be read and is written anew: %s", uri, error)
        return None
    return document if document.schema == SCHEMA else None


def _successor(before: RunDocument | None, attempt: str, settings_sha256: str) -> RunDocument:
    """The document with which ``attempt`` takes over."""
    if before is None:
        return RunDocument(SCHEMA, 1, attempt, settings_sha256, per_token=True)
    generation = before.generation + 1
    if not _is_of(before, settings_sha256):
        spent = before.active_seconds
        return RunDocument(SCHEMA, generation, attempt, settings_sha256, active_seconds=spent, per_token=True)
    return dataclasses.replace(
        before,
        generation=generation,
        attempt=attempt,
        settings_sha256=settings_sha256,
        per_token=before.per_token or before.latest is None,
    )
