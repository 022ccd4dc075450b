"""Answers that are stored as they come, so that a pod that is taken away costs the ones on their way and no more.

Each batch is one line of a small object below ``<output>/answers/<identity>/``. They are taken up by whichever pod asks
the same prompts of the same model in the same way; anything else is another identity, and is asked anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kubetune_contract import KubeTuneError, dumps
from kubetune_shared.store import Store

SCHEMA = 1
FOLDER = "answers"
FLUSH_SECONDS = float(os.environ.get("KUBETUNE_KEEP_SECONDS", "15"))
"""How much of the work a pod that is killed may lose."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    tokens: int
    """Tokens generated before the end or a stop string."""
    unfinished: bool
    """True when the answer was cut at its maximal length."""


def identity(**decides: Any) -> str:
    """Names everything but the prompt that decides an answer: model, settings, device and libraries."""
    return hashlib.sha256(dumps({"schema": SCHEMA, **decides}).encode()).hexdigest()


def prompt_key(ids: Sequence[int]) -> str:
    """Names a prompt by its tokens."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:32]


class Kept:
    """The answers of one identity to ``prompts``, by position."""

    def __init__(self, store: Store, output: str, identity: str, prompts: Sequence[Sequence[int]]) -> None:
        """Reads what there is. Raises KubeTuneError when the store cannot be read."""
        self._store, self._uri = store, f"{output.rstrip('/')}/{FOLDER}/{identity}"
        self._keys = [prompt_key(ids) for ids in prompts]
        self._attempt, self._written = secrets.token_hex(4), 0
        self._waiting: list[str] = []
        self._flushed, self._warned = time.monotonic(), False
        self.seconds = 0.0
        """What it has taken to answer so far, by all pods."""
        self.answers: dict[int, Answer] = {}
        self._read()

    def add(self, answers: Mapping[int, Answer], seconds: float) -> None:
        """A batch that was answered in so many seconds; it is in the store within FLUSH_SECONDS."""
        self.seconds += seconds
        made = {self._keys[at]: asdict(answer) for at, answer in answers.items()}
        self._waiting.append(json.dumps({"seconds": seconds, "answers": made}))
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Stores what waits; a store that is away is asked again later, and is no reason to stop."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        count = len(self._waiting)
        data = "".join(f"{line}\n" for line in self._waiting[:count]).encode()
        try:
            self._store.write(data, f"{self._uri}/{self._attempt}-{self._written}.jsonl")
        except KubeTuneError as error:
            if not self._warned:
                log.warning("answers could not be stored yet, the evaluation goes on: %s", error.message)
            self._warned = True
            return
        self._written += 1
        del self._waiting[:count]

    def _read(self) -> None:
        known: dict[str, Answer] = {}
        for found in self._store.list(self._uri):
            for line in self._store.read(f"{self._uri}/{found.path}").splitlines():
                known |= self._batch(line)
        self.answers = {at: known[key] for at, key in enumerate(self._keys) if key in known}
        if self.answers:
            log.info("going on from %d of %d answers that were stored", len(self.answers), len(self._keys))

    def _batch(self, line: bytes) -> dict[str, Answer]:
        """Empty for one that cannot be read, which is answered again."""
        try:
            data = json.loads(line)
            made = {key: _answer(one) for key, one in data["answers"].items()}
            self.seconds += float(data["seconds"])
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("a stored batch of answers cannot be read; it is asked again")
            return {}
        return made


def _answer(data: Any) -> Answer:
    text, tokens, unfinished = data["text"], data["tokens"], data["unfinished"]
    if not (isinstance(text, str) and isinstance(tokens, int) and isinstance(unfinished, bool)):
        raise TypeError
    return Answer(text, tokens, unfinished)


def discard(store: Store, output: str) -> None:
    """Removes the answers of a report that is published, which has them; a store that refuses is only a warning."""
    try:
        store.delete_folder(f"{output.rstrip('/')}/{FOLDER}")
    except KubeTuneError as error:
        log.warning("stored answers below %s could not be removed: %s", output, error.message)
