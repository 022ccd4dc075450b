"""Checks before anything is changed: each problem is one sentence that says what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .layout import cache_root
from .namespaces import ClusterError

BUILD_GIB = 8
RUN_GIB = 2
GO_VERSION = (1, 26, 6)
# What is needed before packages can be installed, or by the tooling itself: program -> package.
TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "sysctl": "procps",
    "hostname": "hostname",
    "openssl": "openssl",
}


@dataclass(frozen=True)
class Machine:
    """The facts about this machine that the checks judge."""

    system: str
    uid: int
    missing_tools: tuple[str, ...]
    has_apt: bool
    go: tuple[int, ...] | None
    free_gib: float
    cache: Path


def problem(machine: Machine, build_needed: bool) -> str | None:
    """The first thing that stands in the way, and what to do about it; None if nothing does."""
    needed = BUILD_GIB if build_needed else RUN_GIB
    if machine.system != "Linux":
        return f"the test cluster needs Linux, not {machine.system}: set KUBECONFIG to a cluster"
    if machine.uid != 0:
        return "the test cluster needs root for its namespaces: run the command as root"
    if machine.missing_tools and not machine.has_apt:
        names = " ".join(machine.missing_tools)
        return f"not installed: {names}; install them with the system's package manager"
    if build_needed and machine.go is None:
        return "go is not installed: install Go from https://go.dev/dl/ and put it on the PATH"
    if build_needed and machine.go is not None and machine.go < GO_VERSION:
        return (
            f"go {_dotted(machine.go)} is too old: install Go {_dotted(GO_VERSION)} or newer from "
            "https://go.dev/dl/"
        )
    if machine.free_gib < needed:
        return (
            f"only {machine.free_gib:.1f} GiB are free for {machine.cache} and {needed} are "
            "needed: free some, or set KUBETUNE_CACHE to a folder on a larger disk"
        )
    return None


def check(build_needed: bool) -> None:
    """Raise ClusterError with the sentence if this machine cannot do what is asked."""
    found = problem(inspect(), build_needed)
    if found:
        raise ClusterError(found)


def inspect() -> Machine:
    """Look at this machine."""
    cache = cache_root()
    existing = next(folder for folder in [cache, *cache.parents] if folder.exists())
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return Machine(
        system=platform.system(),
        uid=os.geteuid(),
        missing_tools=tuple(t for t in TOOLS if not shutil.which(t, path=path)),
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
    return parse_go_version(
        subprocess.run(["go", "version"], capture_output=True, text=True).stdout
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
