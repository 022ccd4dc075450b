"""Locks that end with the process that holds them, and the slots they guard."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import slots
from tests.cluster.cluster import Cluster, known, sweep
from tests.cluster.layout import REPOSITORY


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


def test_a_lock_file_goes_with_what_it_guards(tmp_path: Path) -> None:
    path, guarded = tmp_path / "a.lock", tmp_path / "a"
    with slots.held(path, pytest.fail, guarded):
        guarded.mkdir()
    assert path.exists()
    with slots.held(path, pytest.fail, guarded):
        guarded.rmdir()
    assert not path.exists()


def test_a_lock_file_that_is_removed_between_opening_and_locking_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "a.lock", fcntl.flock
    calls: list[int] = []

    def late(descriptor: int, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    descriptor = slots.lock(path)
    assert descriptor is not None
    assert len(calls) == 2
    assert slots.lock(path) is None
    os.close(descriptor)


ONE_AT_A_TIME = """
import sys, pathlib
from tests.cluster import slots
path = pathlib.Path(sys.argv[1])
for _ in range(200):
    while (descriptor := slots.lock(path)) is None:
        pass
    inside = path.with_name("inside")
    inside.touch(exist_ok=False)
    inside.unlink()
    slots.release(path, descriptor, path.with_name("nothing"))
"""


def test_processes_that_remove_the_lock_file_keep_each_other_out(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONE_AT_A_TIME, str(tmp_path / "a.lock")]
    processes = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_gone_leaves_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_CACHE", str(tmp_path))
    killed, never = Cluster("killed"), Cluster("never")
    killed.layout.state.mkdir(parents=True)
    (tmp_path / "clusters" / "killed.lock").touch()
    assert [cluster.name for cluster in known()] == ["killed"]
    sweep()
    assert never.down() is False
    assert list((tmp_path / "clusters").iterdir()) == []


def test_no_slot_left_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MAX_SLOTS", 1)
    slot = slots.take(tmp_path)
    with pytest.raises(RuntimeError, match="stop a cluster first"):
        slots.take(tmp_path)
    os.close(slot.descriptor)
