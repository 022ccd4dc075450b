"""The lineage's digest of the code covers the code: contract, shared and every module of the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

import kubetune_contract
import kubetune_shared
import kubetune_trainer
from kubetune_trainer.tracking.records import code_sha256

PACKAGES = (kubetune_contract, kubetune_shared, kubetune_trainer)
MODULES = [path for package in PACKAGES for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(path.parts[-3:]))
def test_every_module_is_covered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = code_sha256(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda one: real(one) + (b"#" if one == path else b""))
    assert code_sha256() != before


def test_the_same_code_has_the_same_digest() -> None:
    assert code_sha256() == code_sha256()
