"""Several training processes on one node, started and watched over by the pod's first process. Imports no torch.

torchrun does the starting, too, but its own exit code is 1 whatever a process ended with, and it kills those that have
not stopped 30 seconds after SIGTERM, in the middle of a checkpoint's upload. The processes get its variables (RANK,
LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) here as well; what is left to do is to make one end of several.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import (
    ContractError,
    ExitCode,
    FailureSummary,
    KubeTuneError,
    TrainConfig,
    TrainSummary,
    from_json,
    write_termination,
)
from kubetune_contract.paths import SCHEMA
from kubetune_trainer.model.device import threads

from .place import RELAUNCH, processes, told_by
from .stop import StopRequest, preempted

GRACE_SECONDS = 60.0
"""What the others get once one has failed: the first may still be storing a checkpoint."""
FOLLOWERS_GRACE_SECONDS = 3.0
"""What they get once the first has ended: they hold nothing of value, but perhaps the cause of its end."""
POLL_SECONDS = 0.05
LOOPBACK = "127.0.0.1"
RENDEZVOUS = "KUBETUNE_RENDEZVOUS_FD"
"""The first process's file descriptor of the socket at which the processes meet."""
_NAMED = {int(code) for code in ExitCode} - {ExitCode.OK, ExitCode.BUG}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """How one process ended."""

    rank: int
    code: int
    """Its exit code; negative for the signal that killed it."""
    at: float
    """Monotonic time."""
    by_us: bool = False
    """The launcher killed it, after another had failed."""


def launch(config: TrainConfig, stop: StopRequest) -> ExitCode:
    """Runs the training processes to their common end.

    Raises the KubeTuneError that one of them failed with, and SystemExit with 128 and the signal's number when one was
    killed.
    """
    count = processes(config)
    while True:
        ends = Gang(count, stop).run()
        end = decisive(ends)
        if end.code != RELAUNCH:
            return conclude(end, count)
        if stop.requested:
            raise preempted("between two starts of the training processes", None)
        log.info("the %d training processes start anew", count)


class Gang:
    """The processes of one start."""

    def __init__(self, count: int, stop: StopRequest) -> None:
        self._count, self._stop = count, stop
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._ends: list[End] = []
        self._deadline: float | None = None
        self._told = self._killed = False

    def run(self) -> list[End]:
        """Starts all and waits until all have ended."""
        clear(self._count)
        with socket.create_server((LOOPBACK, 0)) as meeting:
            for rank in range(self._count):
                self._running[rank] = start(rank, self._count, meeting)
        log.info("%d training processes: %s", self._count, ", ".join(str(p.pid) for p in self._running.values()))
        while self._running:
            self._pass_on()
            self._collect()
            self._enforce()
            time.sleep(POLL_SECONDS)
        return self._ends

    def _pass_on(self) -> None:
        if self._stop.requested and not self._told:
            self._told = True
            for process in self._running.values():
                process.send_signal(signal.SIGTERM)

    def _collect(self) -> None:
        for rank, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[rank]
            self._ends.append(End(rank, code, time.monotonic(), self._killed))
            if rank == 0:
                self._end_by(FOLLOWERS_GRACE_SECONDS)
            elif code:
                self._end_by(GRACE_SECONDS)

    def _end_by(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._deadline = min(deadline, self._deadline or deadline)

    def _enforce(self) -> None:
        if self._deadline is None or self._killed or time.monotonic() < self._deadline:
            return
        self._killed = True
        for process in self._running.values():
            process.kill()


def clear(count: int) -> None:
    """Removes what processes of an earlier start have left."""
    folder = Path(told_by(0)).parent
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(count):
        Path(told_by(rank)).unlink(missing_ok=True)


def start(rank: int, count: int, meeting: socket.socket) -> subprocess.Popen[bytes]:
    """This very command as process ``rank`` of ``count``."""
    passed = (meeting.fileno(),) if rank == 0 else ()
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env=os.environ | environment(rank, count, meeting.getsockname()[1], passed),
        pass_fds=passed,
    )


def die_with_launcher() -> None:
    """Called in a training process: it shall not outlive the one that watches over it (PR_SET_PDEATHSIG, prctl(2))."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def environment(rank: int, count: int, port: int, passed: tuple[int, ...] = ()) -> dict[str, str]:
    """What a process needs to know. All traffic stays within the pod: on the loopback, or in the GPUs' own links."""
    found = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
        "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", "lo"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, threads() // count)),
        "KUBETUNE_TERMINATION_LOG": told_by(rank),
    }
    if passed:
        found[RENDEZVOUS] = str(passed[0])
    if rank and os.environ.get("KUBETUNE_LOG_LEVEL") != "DEBUG":
        # What goes for all is told once, by the first.
        found["KUBETUNE_LOG_LEVEL"] = "ERROR"
    return found


def decisive(ends: Iterable[End]) -> End:
    """The end that is the run's own: rather a cause than what followed from it."""
    known = sorted(ends, key=lambda end: (end.at, end.rank))
    (first,) = [end for end in known if end.rank == 0]
    if first.code in (ExitCode.OK, ExitCode.SUPERSEDED):
        return first
    return min(known, key=_consequence)


def _consequence(end: End) -> int:
    """0 for what is surely a cause; the more, the more likely it only followed from another process's end."""
    if end.code == RELAUNCH:
        return 0
    if end.code in _NAMED:
        return 1
    if end.code == 0 or end.by_us:
        return 4
    return 2 if end.code < 0 else 3


def conclude(end: End, count: int) -> ExitCode:
    """Passes on what the process of ``end`` had to say, as the pod's own."""
    who = f"training process {end.rank} of {count}"
    if end.code < 0:
        raise _killed(who, -end.code)
    try:
        said = json.loads(Path(told_by(end.rank)).read_text(encoding="utf-8"))
        if end.code == 0:
            write_termination(from_json(TrainSummary, said))
            return ExitCode.OK
        failure = from_json(FailureSummary, said)
        code = ExitCode(end.code)
    except (OSError, ValueError, ContractError) as error:
        raise KubeTuneError(
            ExitCode.BUG, "ProcessDied", f"{who} ended with code {end.code} and left no message ({error})"
        ) from error
    raise KubeTuneError(code, failure.reason, failure.message)


def _killed(who: str, number: int) -> SystemExit:
    name = signal.Signals(number).name
    why = " (most often the kernel does so when main memory runs short)" if number == signal.SIGKILL else ""
    message = f"{who} was killed by {name}{why}; the next attempt goes on from the last checkpoint"
    log.error("%s", message)
    write_termination(FailureSummary(SCHEMA, "ProcessDied", message, 128 + number))
    return SystemExit(128 + number)
