"""``python -m kubetune_server.watch PROGRAM ARGUMENTS``: runs the engine, and says in a sentence what it died of.

The kubelet keeps the last 2 KiB of a log. vLLM's own processes die one after the other, each with a traceback, so that
the cause is no longer among them. Here the log is passed on as it comes, its end is kept, and the cause is left as the
termination message. Signals and the exit code are passed on, too.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from threading import Thread
from types import FrameType
from typing import BinaryIO

from kubetune_contract.last_words import last_words
from kubetune_contract.paths import SCHEMA
from kubetune_contract.runtime import FailureSummary, write_termination

from .engine_words import in_our_words

KEPT_LINES = 400
LINE_LIMIT = 2000
"""Bytes of a line that are kept; all of it is passed on."""
REST_SECONDS = 5.0
"""Processes the engine leaves behind may hold its output open for ever."""


class Engine:
    """The engine's process, and the end of its log."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        # No Event: its lock may be held by the very call that a second signal interrupts.
        self._asked = False

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """Hands the signal on. As process 1 of a container, this one would otherwise ignore it."""
        self._asked = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def run(self, command: Sequence[str], out: BinaryIO) -> int:
        """Its exit code, as a shell would say it; a failure nobody asked for leaves a termination message."""
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if self._asked:
            self._process.terminate()
        reader = Thread(target=self._pass_on, args=(self._process.stdout, out), daemon=True)
        reader.start()
        status = self._process.wait()
        reader.join(REST_SECONDS)
        code = status if status >= 0 else 128 - status
        if code and not self._asked:
            write_termination(FailureSummary(SCHEMA, "EngineFailed", self._words(code), code))
        return code

    def _pass_on(self, source: BinaryIO, out: BinaryIO) -> None:
        with source:
            for line in source:
                self._kept.append(line[:LINE_LIMIT])
                # Whoever read it may have gone: the engine must not block on a pipe that nobody empties.
                with contextlib.suppress(OSError):
                    out.write(line)
                    out.flush()

    def _words(self, code: int) -> str:
        log = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in list(self._kept))
        said = in_our_words(last_words(log.decode(errors="replace")))
        return f"The engine (vLLM) ended with code {code}{': ' + said if said else ' without a word.'}"


def main() -> None:
    """Ends with the engine's code."""
    engine = Engine()
    signal.signal(signal.SIGTERM, engine.stop)
    signal.signal(signal.SIGINT, engine.stop)
    code = engine.run(sys.argv[1:], sys.stdout.buffer)
    # Not by the interpreter's own end: a reader that still waits for leftovers would keep it.
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
