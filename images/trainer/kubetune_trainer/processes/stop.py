"""SIGTERM as a wish that the training loop reads between two optimizer steps."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType

from kubetune_contract import ExitCode, KubeTuneError

LOOK_SECONDS = 0.1
STDERR = 2


class StopRequest:
    """Set once the pod is asked to go; never cleared.

    A handler runs between any two instructions of the main thread, also while that holds a lock or writes a log line.
    So this is no threading.Event, and nothing is logged: either could hang, or raise before the request is noted.
    """

    def __init__(self) -> None:
        self._requested = False

    @classmethod
    def installed(cls) -> StopRequest:
        """A request that SIGTERM and SIGINT set. As process 1 of a container, Python would ignore SIGTERM otherwise."""
        request = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, request._on_signal)
        # A process that replaces itself (recovery/restart.py) leaves them blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        return request

    @property
    def requested(self) -> bool:
        """True once the process was asked to stop."""
        return self._requested

    def set(self) -> None:
        """Asks to stop."""
        self._requested = True

    def wait(self, seconds: float) -> bool:
        """Sleeps, but no longer than until the request; True when it came."""
        end = time.monotonic() + seconds
        while not self._requested and (rest := end - time.monotonic()) > 0:
            time.sleep(min(LOOK_SECONDS, rest))
        return self._requested

    def check(self) -> None:
        """Raises KubeTuneError (PREEMPTED) once the process was asked to stop."""
        if self.requested:
            raise preempted("before the first step", None)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._requested = True
        with contextlib.suppress(OSError):
            os.write(STDERR, f"{signal.Signals(number).name}: stopping after the current step\n".encode())


def preempted(when: str, checkpoint: int | None) -> KubeTuneError:
    """The failure that makes the operator start the job again; ``checkpoint`` is the step it will go on from."""
    onward = (
        f"the next attempt goes on from the checkpoint of step {checkpoint}"
        if checkpoint
        else "the next attempt starts from the beginning, as no checkpoint is stored (see saveMinutes and saveSteps)"
    )
    return KubeTuneError(ExitCode.PREEMPTED, "Preempted", f"asked to stop {when}; {onward}")
