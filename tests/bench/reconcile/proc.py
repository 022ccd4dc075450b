"""What Linux counts: CPU time of processes, peak memory, time stolen by the hypervisor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_rss_mib(pid: int) -> float:
    """The most memory the process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no VmHWM")


@dataclass(frozen=True)
class Machine:
    """Ticks of all CPUs since boot."""

    total: int
    stolen: int
    idle: int

    @classmethod
    def now(cls) -> Machine:
        ticks = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return cls(sum(ticks), ticks[7], ticks[3] + ticks[4])

    def stolen_share(self, later: Machine) -> float:
        return (later.stolen - self.stolen) / max(1, later.total - self.total)

    def busy_share(self, later: Machine) -> float:
        """Everything but idle: above what the measured processes used, others were at work."""
        return 1 - (later.idle - self.idle) / max(1, later.total - self.total)
