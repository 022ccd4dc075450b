"""The prompts that a result was trained on, by it or by the results it stands on, published with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kubetune_contract import to_json
from kubetune_shared.rowkeys import NAME, RowKeys, known, trained
from kubetune_shared.rows import Row
from kubetune_shared.sources import LocalModel
from kubetune_trainer.workspace import RowKeyCount, inputs_dir


def keep_keys(rows: Iterable[Row], base: LocalModel) -> RowKeyCount:
    """Leaves the keys of ``rows``, and of whatever ``base`` was trained on, for ``add_keys``; returns their numbers."""
    own, before = trained(rows), known(base.path, base.manifest)
    everything = own | (before.keys or RowKeys())
    everything.write(inputs_dir() / NAME)
    return RowKeyCount(len(own), len(everything) - len(own), before.keys is not None or not before.is_result)


def add_keys(folder: Path, meta: dict[str, Any], count: RowKeyCount) -> dict[str, Any]:
    """Puts them into a result's folder; returns the manifest's ``meta`` with a word about it."""
    shutil.copyfile(inputs_dir() / NAME, folder / NAME)
    return {**meta, "config": {**meta["config"], "rowKeys": {"file": NAME, **to_json(count)}}}


def hand_on_keys(source: Path, export: Path) -> None:
    """An export was trained on what its source was."""
    if (source / NAME).is_file():
        shutil.copyfile(source / NAME, export / NAME)
