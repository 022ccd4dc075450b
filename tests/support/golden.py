"""Golden files: what the code under test made when somebody last looked at it and agreed.

``KUBETUNE_UPDATE_GOLDEN=1`` writes them anew; the diff of the commit is then what to look at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "golden"
UPDATE = "KUBETUNE_UPDATE_GOLDEN"


def assert_golden(name: str, value: Any) -> None:
    """Compares JSON-able ``value`` with ``tests/golden/<name>.yaml``."""
    path = FOLDER / f"{name}.yaml"
    _update(path, yaml.dump(value, Dumper=_Plain, sort_keys=False, width=110))
    assert value == yaml.safe_load(_read(path))


def assert_golden_text(path: Path, text: str) -> None:
    """Compares ``text`` with the file ``path``, character by character."""
    _update(path, text)
    assert text == _read(path), f"run with {UPDATE}=1 and review the difference"


def _update(path: Path, text: str) -> None:
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _read(path: Path) -> str:
    assert path.exists(), f"{path} is missing; run with {UPDATE}=1 and look at what it writes"
    return path.read_text(encoding="utf-8")


class _Plain(yaml.SafeDumper):
    """Without anchors: a diff should show the place that changed, not a place that is shared."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
