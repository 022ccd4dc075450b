"""Golden files: what the builders made when somebody last looked at it and agreed.

``KUBETUNE_UPDATE_GOLDEN=1`` writes them anew; the diff of the commit is then what to look at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "golden"


def assert_golden(name: str, value: Any) -> None:
    """Compares JSON-able ``value`` with ``tests/golden/<name>.yaml``."""
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("KUBETUNE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        text = yaml.dump(value, Dumper=_Plain, sort_keys=False, width=110)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; run with KUBETUNE_UPDATE_GOLDEN=1 and look at what it writes"
    assert value == yaml.safe_load(path.read_text(encoding="utf-8"))


class _Plain(yaml.SafeDumper):
    """Without anchors: a diff should show the place that changed, not a place that is shared."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
