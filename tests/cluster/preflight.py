"""Checks before anything is changed: each problem is one sentence that says what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .layout import cache_root
from .namespaces import ClusterError

BUILD_GIB = 12
RUN_GIB = 2
GO_VERSION = (1, 26, 6)


@dataclass(frozen=True)
class Machine:
    """The facts about this machine that the checks judge."""

    system: str
    uid: int
    absent_packages: tuple[str, ...]
    has_apt: bool
    go: tuple[int, ...] | None
    free_gib: float
    cache: Path


def problem(machine: Machine, build_needed: bool) -> str | None:
    """The first thing that stands in the way, and what to do about it; None if nothing does."""
    return next(_problems(machine, build_needed), None)


def _problems(machine: Machine, build_needed: bool) -> Iterator[str]:
    needed = BUILD_GIB if build_needed else RUN_GIB
    if machine.system != "Linux":
        yield f"the test cluster needs Linux, not {machine.system}: set KUBECONFIG to a cluster of yours instead"
    if machine.uid != 0:
        yield "the test cluster needs root for its namespaces: run the command as root"
    if machine.absent_packages and not machine.has_apt:
        names = " ".join(machine.absent_packages)
        yield f"missing and not installable without apt-get: {names}; install what they hold by hand"
    if build_needed and machine.go is None:
        yield f"go is not on PATH: install Go {_dotted(GO_VERSION)} or newer from https://go.dev/dl/"
    if build_needed and machine.go is not None and machine.go < GO_VERSION:
        wanted = _dotted(GO_VERSION)
        yield f"go {_dotted(machine.go)} is too old: install Go {wanted} or newer from https://go.dev/dl/"
    if machine.free_gib < needed:
        yield (
            f"only {machine.free_gib:.1f} GiB are free for {machine.cache} and {needed} are needed: "
            "free some, or set KUBETUNE_CACHE to a folder on a larger disk"
        )


def check(build_needed: bool, absent_packages: Sequence[str]) -> None:
    """Raise ClusterError with the sentence if this machine cannot do what is asked."""
    found = problem(inspect(absent_packages), build_needed)
    if found:
        raise ClusterError(found)


def inspect(absent_packages: Sequence[str]) -> Machine:
    """Look at this machine."""
    cache = cache_root()
    existing = next(folder for folder in [cache, *cache.parents] if folder.exists())
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return Machine(
        system=platform.system(),
        uid=os.geteuid(),
        absent_packages=tuple(absent_packages),
        has_apt=shutil.which("apt-get", path=path) is not None,
        go=_go_version(),
        free_gib=shutil.disk_usage(existing).free / 2**30,
        cache=cache,
    )


def parse_go_version(text: str) -> tuple[int, ...] | None:
    """(1, 26, 8) from ``go version go1.26.8 linux/amd64``."""
    found = re.search(r"\bgo(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else None


def _go_version() -> tuple[int, ...] | None:
    if not shutil.which("go"):
        return None
    return parse_go_version(subprocess.run(["go", "version"], check=False, capture_output=True, text=True).stdout)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
