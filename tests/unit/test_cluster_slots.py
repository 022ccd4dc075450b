"""Locks that end with the process that holds them, and the slots they guard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import slots


def test_the_lowest_free_slot_is_taken(tmp_path: Path) -> None:
    first, second = slots.take(tmp_path), slots.take(tmp_path)
    assert [first.path.name, second.path.name] == ["slot-0", "slot-1"]
    os.close(first.descriptor)
    again = slots.take(tmp_path)
    assert again.path == first.path
    for slot in (second, again):
        os.close(slot.descriptor)


def test_a_slot_stays_taken_while_a_child_holds_its_descriptor(tmp_path: Path) -> None:
    slot = slots.take(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[slot.descriptor]
    ) as child:
        os.close(slot.descriptor)
        assert slots.lock(slot.path / "lock") is None
        child.kill()
        child.wait()
    descriptor = slots.lock(slot.path / "lock")
    assert descriptor is not None
    os.close(descriptor)


def test_no_slot_left_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MAX_SLOTS", 1)
    slot = slots.take(tmp_path)
    with pytest.raises(RuntimeError, match="stop a cluster first"):
        slots.take(tmp_path)
    os.close(slot.descriptor)
