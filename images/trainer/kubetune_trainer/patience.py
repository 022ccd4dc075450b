"""Waiting for an object store that is away: hours of training hang on it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from kubetune_contract import ExitCode, KubeTuneError, Phase
from kubetune_trainer.processes.stop import StopRequest, preempted
from kubetune_trainer.reporting.report import Reporter

PATIENCE_SECONDS = 900.0
"""How long a run waits for a store that does not answer; KUBETUNE_STORE_PATIENCE changes it."""
FIRST_PAUSE = 1.0

log = logging.getLogger(__name__)
T = TypeVar("T")


def patience() -> float:
    """Seconds to wait for the store."""
    return float(os.environ.get("KUBETUNE_STORE_PATIENCE", PATIENCE_SECONDS))


def patiently(
    action: Callable[[], T], doing: str, stop: StopRequest, reporter: Reporter, checkpoint: int | None = None
) -> T:
    """What ``action`` returns, tried again while the store is away, which ``reporter`` is told.

    Raises the last KubeTuneError (UNAVAILABLE) when patience did not suffice: the next attempt then goes on from the
    newest checkpoint. Raises at once what waiting cannot help, and PREEMPTED when asked to stop; ``checkpoint`` is the
    step of the newest one in the store.
    """
    deadline, pause = time.monotonic() + patience(), FIRST_PAUSE
    with ExitStack() as waiting:
        while True:
            try:
                return action()
            except KubeTuneError as error:
                if error.code is not ExitCode.UNAVAILABLE or time.monotonic() >= deadline:
                    raise
                if pause == FIRST_PAUSE:
                    waiting.enter_context(reporter.during(Phase.STORE))
                log.warning("%s must wait, trying again in %.0f s: %s", doing, pause, error.message)
            if stop.wait(pause):
                raise preempted(f"while {doing} waited for the object store", checkpoint)
            pause = min(pause * 2, 30.0)
