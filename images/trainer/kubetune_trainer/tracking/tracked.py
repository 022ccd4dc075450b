"""What a tracker is handed, in words of our own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    millis: int


@dataclass(frozen=True)
class Data:
    """What the run learns from."""

    uri: str
    sha256: str
    train_rows: int
    validation_rows: int


@dataclass(frozen=True)
class Version:
    """A version to register of the model ``name``."""

    name: str
    source: str
    """URI of the published artifact."""
    tags: Mapping[str, str]
