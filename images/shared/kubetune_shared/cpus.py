"""How many CPUs and how much memory this container may use, and what they can; libraries count the node's instead."""

from __future__ import annotations

import os
from pathlib import Path

_UNLIMITED = 1 << 60
"""cgroup v1 says "no limit" by a number near 2^63."""
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole CPUs of the cgroup's quota, rounded down, at least one; without a quota the CPUs this process may run on.

    Down, because a thread for a part of a CPU is held back, and every other one waits for it.
    """
    allowed = len(os.sched_getaffinity(0))
    quota, period = _quota(root)
    return min(allowed, max(1, quota // period)) if quota and period else allowed


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes the cgroup allows; without a limit the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(root / name)
        if limit and limit < _UNLIMITED:
            return min(limit, physical)
    return physical


def computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 matrices itself (AVX512_BF16, AMX, arm64's BF16); others emulate it."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    # x86 calls the line flags, arm64 Features.
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())


def _quota(root: Path) -> tuple[int | None, int | None]:
    """Microseconds of CPU time per period: cgroup v2's file first, then v1's."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return (None if quota == "max" else int(quota)), int(period)
    except (OSError, ValueError):
        quota_v1 = _number(root / "cpu" / "cpu.cfs_quota_us")
        return (quota_v1 if quota_v1 and quota_v1 > 0 else None), _number(root / "cpu" / "cpu.cfs_period_us")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
