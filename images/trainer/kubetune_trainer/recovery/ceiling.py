"""A ceiling on main memory, so that an allocation fails where the kernel would kill. Imports no torch.

The kernel's killer asks nobody, and what it leaves is an exit code; an allocation that fails is caught, and the ladder
goes one rung down. RLIMIT_DATA counts what a process has asked for (VmData), the pod's limit what it has touched
(RssAnon). Once the model is loaded the distance between both is constant: 1.15 GiB, within 40 MiB, from there to the
last step, for models of 0.3 to 194 million parameters; it is the libraries' threads and reserves. So the ceiling is set
then, and taken away after the last step, and by every process that begins (limits outlive exec).
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
from pathlib import Path

from kubetune_shared.cpus import memory_limit

RESERVE_SHARE, RESERVE_BYTES = 0.04, 32 << 20
"""Left for what the pod is charged with beside this process's own pages: page tables, sockets, files being written."""

log = logging.getLogger(__name__)


def allowed() -> int:
    """Bytes of main memory for this pod; KUBETUNE_MEMORY_LIMIT (bytes) stands in for the container's limit."""
    return int(os.environ.get("KUBETUNE_MEMORY_LIMIT", "0")) or memory_limit()


def ceiling(limit: int, asked: int, touched: int) -> int:
    """The RLIMIT_DATA at which a process that has ``asked`` for so much and ``touched`` so much reaches ``limit``."""
    reserve = max(RESERVE_BYTES, int(RESERVE_SHARE * limit))
    return asked + max(0, limit - reserve - touched)


def lower(limit: int) -> None:
    """Sets the ceiling for this process, from here on."""
    asked, touched = status("VmData"), status("RssAnon")
    if asked is None or touched is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = ceiling(limit, asked, touched)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    log.info("%.2f GiB of main memory are left for training", max(0, wanted - asked) / 2**30)


def lift() -> None:
    """Takes it away."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def give_back() -> None:
    """Has glibc return what was freed: what it keeps for itself counts against the ceiling."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def status(name: str) -> int | None:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
