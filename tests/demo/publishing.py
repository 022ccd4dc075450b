"""What the pods that make a base model and its data have in common: facts, libraries and the way into the store."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kubetune_contract import ObjectStore
from kubetune_shared.artifacts import publish, read_manifest
from kubetune_shared.store import Store


def say(text: str) -> None:
    """One line for whoever follows the pod's log."""
    print(text, flush=True)


def open_store() -> Store:
    """The store that KUBETUNE_STORE_ENDPOINT names; credentials come from AWS_*."""
    return Store(ObjectStore(os.environ.get("KUBETUNE_STORE_ENDPOINT") or None))


def write_data(rows: Mapping[str, Sequence[Any]], facts: dict[str, Any], folder: Path) -> None:
    """One JSONL file per part; ``facts.json`` beside them says what a reader of the scores needs to know."""
    for part, chosen in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in chosen]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


class Publisher:
    """Publishes folders below ``prefix`` unless they are there, made with the same ``key``."""

    def __init__(self, store: Store, prefix: str, key: str, makers: Sequence[str], config: dict[str, Any]) -> None:
        self._store = store
        self._prefix = prefix
        self._key = key
        libraries = {"python": platform.python_version()} | {name: version(name) for name in makers}
        self._meta = {"config": {"key": key, **config}, "libraries": libraries}

    def publish(self, name: str, kind: str, make: Callable[[Path], None]) -> None:
        """Has ``make`` fill a folder and publishes it as ``prefix``/``name``."""
        uri = f"{self._prefix}/{name}"
        found = read_manifest(self._store, uri)
        if found is not None and found[0].config.get("key") == self._key:
            return
        with tempfile.TemporaryDirectory() as scratch:
            make(Path(scratch))
            publish(self._store, Path(scratch), uri, kind=kind, meta=self._meta)
