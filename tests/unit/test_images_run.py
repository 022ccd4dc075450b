"""Running a command in an image: the engines' command lines, mounts, what a killed run left."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from images.build import run
from images.build.engine import Engine
from images.build.errors import ImageBuildError
from tests.cluster import packages
from tests.inside import ROOT, TOOLS, locked, merge
from tests.run import Count, add

COMMAND = run.Command(
    "localhost/kubetune/app:1",
    ["python", "-c", "pass"],
    (run.Mount(Path("/a"), "/b"), run.Mount(Path("/c"), "/d", writable=True)),
    {"Z": "1", "A": "x y"},
)
OPTIONS = ["--user", "65532:65532", "--volume", "/a:/b:ro", "--volume", "/c:/d:rw", "--env", "A=x y", "--env", "Z=1"]


def test_docker_and_podman_replace_the_entrypoint() -> None:
    assert run.run_arguments(COMMAND) == [
        *("run", "--rm", "--network", "host", "--shm-size", "1g", *OPTIONS),
        *("--entrypoint", "python", "localhost/kubetune/app:1", "-c", "pass"),
    ]


def test_buildah_never_fetches_and_keeps_the_commands_dashes() -> None:
    made = run.from_arguments(COMMAND, "kubetune-run-7")
    assert "--pull=never" in made
    assert made[-3:] == ["--name", "kubetune-run-7", "localhost/kubetune/app:1"]
    line = run.buildah_arguments(COMMAND, "kubetune-run-7")
    assert line == ["run", "--isolation", "chroot", *OPTIONS, "kubetune-run-7", "--", "python", "-c", "pass"]


def test_mounts_are_read_only_unless_said(tmp_path: Path) -> None:
    assert run.parse_mount(f"{tmp_path}:/x") == run.Mount(tmp_path, "/x")
    assert run.parse_mount(f"{tmp_path}:/x:rw") == run.Mount(tmp_path, "/x", writable=True)


@pytest.mark.parametrize("text", ["", "/tmp", "/tmp:x", "/tmp:/x:wr", ":/x"])
def test_a_mount_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ImageBuildError, match="write SOURCE:/TARGET"):
        run.parse_mount(text)


def test_a_mount_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageBuildError, match="there is no /"):
        run.parse_mount(f"{tmp_path}/absent:/x")


def test_settings() -> None:
    assert run.parse_setting("A=b=c") == ("A", "b=c")
    with pytest.raises(ImageBuildError, match="write NAME=VALUE"):
        run.parse_setting("A")


def test_only_containers_of_dead_runs_are_orphans() -> None:
    names = ["kubetune-run-1", "kubetune-run-2", "app-working-container", "kubetune-run-x"]
    assert run.orphans(names, lambda pid: pid == 2) == ["kubetune-run-1"]


def test_the_exit_status_passes_through(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\nexit 7\n")
    engine.chmod(0o755)
    assert run.run(Engine(str(engine)), COMMAND) == 7


def test_the_tools_versions_and_hashes_are_those_of_the_lock() -> None:
    text = (ROOT / "requirements-dev.txt").read_text()
    found = locked(text, TOOLS)
    assert found.count("==") == len(TOOLS)
    assert found.count("--hash=sha256:") >= len(TOOLS)
    with pytest.raises(ImageBuildError, match="does not pin absent"):
        locked(text, ("pytest", "absent"))


def test_reports_of_several_suites_add_up(tmp_path: Path) -> None:
    parts = [tmp_path / "a.xml", tmp_path / "b.xml", tmp_path / "absent.xml"]
    for part in parts[:2]:
        part.write_text('<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1"/></testsuites>')
    merge(parts, tmp_path / "all.xml")
    count = Count()
    add(tmp_path / "all.xml", count)
    assert (count.passed, count.failed, count.skipped) == (2, 2, 2)


def test_image_tools_are_wanted_only_where_no_engine_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "IMAGE_PACKAGES", {str(tmp_path / "absent"): "buildah"})
    monkeypatch.setattr(packages, "_ENGINES", ("false",))
    assert packages.absent_for_images() == ["buildah"]
    monkeypatch.setattr(packages, "_ENGINES", ("false", "true"))
    assert packages.absent_for_images() == []


def test_debians_python_needs_its_package_for_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else sys)
    assert packages.absent_for_venv() == ["python3-venv"]
