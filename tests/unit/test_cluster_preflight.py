"""What is said before anything is changed on a machine that cannot run a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.preflight import GO_VERSION, Machine, parse_go_version, problem

GOOD = Machine(
    system="Linux", uid=0, absent_packages=(), has_apt=True, go=GO_VERSION, free_gib=100.0, cache=Path("/cache")
)


def test_nothing_to_say_about_a_good_machine() -> None:
    assert problem(GOOD, build_needed=True) is None
    assert problem(replace(GOOD, absent_packages=("runc",)), build_needed=True) is None


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (replace(GOOD, system="Darwin"), "needs Linux, not Darwin"),
        (replace(GOOD, uid=1000), "run the command as root"),
        (replace(GOOD, absent_packages=("runc", "nftables"), has_apt=False), "without apt-get: runc nftables"),
        (replace(GOOD, go=None), "install Go 1.26.6 or newer"),
        (replace(GOOD, go=(1, 19, 8)), "go 1.19.8 is too old"),
        (replace(GOOD, free_gib=3.21), "only 3.2 GiB are free for /cache and 12 are needed"),
    ],
)
def test_each_problem_is_one_sentence(machine: Machine, said: str) -> None:
    sentence = problem(machine, build_needed=True)
    assert sentence is not None
    assert said in sentence
    assert "\n" not in sentence


def test_go_and_its_disk_are_needed_only_to_build() -> None:
    assert problem(replace(GOOD, go=None, free_gib=3.0), build_needed=False) is None
    assert problem(replace(GOOD, free_gib=1.0), build_needed=False) is not None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/arm64", (1, 27)),
        ("gcc 12.2.0", None),
        ("", None),
    ],
)
def test_go_version(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_go_version(text) == version
