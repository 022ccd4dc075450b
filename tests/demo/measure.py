"""What a run of the demo took: time of each step, most memory and disk in use."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
SAMPLE_SECONDS = 1.0
TICK_SECONDS = 15.0
GIB = 2**30


def memory_used(meminfo: str) -> int:
    """Bytes that are not available for new programs, from /proc/meminfo's text."""
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in meminfo.splitlines() if ":" in line}
    return values["MemTotal"] - values["MemAvailable"]


class Peaks:
    """Samples this machine's memory and disk in the background; both are counted from where they stood at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._first = self._sample()
        self._most = self._first
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _sample(self) -> tuple[int, int]:
        return memory_used(MEMINFO.read_text()), shutil.disk_usage(self._folder).used

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            memory, disk = self._sample()
            self._most = max(self._most[0], memory), max(self._most[1], disk)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def memory(self) -> int:
        """Most bytes of memory above the start."""
        return self._most[0] - self._first[0]

    @property
    def disk(self) -> int:
        """Most bytes of disk above the start."""
        return self._most[1] - self._first[1]


@dataclass
class Steps:
    """The steps of a run with the seconds each took."""

    taken: list[tuple[str, float]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, title: str, *, tick: bool = False) -> Iterator[None]:
        """Announces a step and measures it; a step that fails is not counted.

        ``tick`` says now and then that a step with little to say goes on.
        """
        print(f"\n== {title}", flush=True)
        begun = time.monotonic()
        with _ticking(begun) if tick else nullcontext():
            yield
        self.taken.append((title, time.monotonic() - begun))

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started


@contextmanager
def _ticking(begun: float) -> Iterator[None]:
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(TICK_SECONDS):
            print(f"   ... {clock(time.monotonic() - begun)}", flush=True)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def clock(seconds: float) -> str:
    """``3 min 07 s``, or ``42 s`` below a minute."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def table(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(steps: Steps, peaks: Peaks | None) -> str:
    """Times, memory and disk as a table."""
    rows: list[tuple[str, ...]] = [(title, clock(seconds)) for title, seconds in steps.taken]
    rows.append(("all together", clock(steps.total)))
    if peaks:
        rows.append(("most memory above the start", f"{peaks.memory / GIB:.1f} GiB"))
        rows.append(("most disk above the start", f"{peaks.disk / GIB:.1f} GiB"))
    return table(rows)
