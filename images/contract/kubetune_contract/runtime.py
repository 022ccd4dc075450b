"""The edges of a workload container: read the configuration, leave the termination message, exit with its code."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .codec import dumps, from_json
from .errors import ContractError, ExitCode, KubeTuneError
from .paths import CONFIG_PATH, SCHEMA, TERMINATION_LIMIT, TERMINATION_PATH

T = TypeVar("T")


@dataclass(frozen=True)
class FailureSummary:
    """Termination message of a workload that failed with a known reason."""

    schema: int
    reason: str
    message: str
    exit_code: int


def read_config(kind: type[T], path: str | Path | None = None) -> T:
    """The configuration at ``path`` (default: KUBETUNE_CONFIG, else CONFIG_PATH).

    Raises ContractError when the file is missing, no JSON, of another schema or does not fit ``kind``.
    """
    source = Path(path or os.environ.get("KUBETUNE_CONFIG", CONFIG_PATH))
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError("$", f"cannot be read from {source}: {error.strerror}") from error
    except ValueError as error:
        raise ContractError("$", f"in {source} is not JSON: {error}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ContractError(
            "schema",
            f"is {schema}, but this image understands {SCHEMA}; use images and operator of one release",
        )
    return from_json(kind, data)


def exit_when_asked() -> None:
    """Ends the process at SIGTERM, as preempted. As process 1 of a container, Python would ignore the signal and be
    killed only after the grace period."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(ExitCode.PREEMPTED)))


def write_termination(summary: Any) -> None:
    """Leaves ``summary`` where the kubelet looks for it, cut to the kubelet's limit by shortening ``message``."""
    path = Path(os.environ.get("KUBETUNE_TERMINATION_LOG", TERMINATION_PATH))
    try:
        path.write_bytes(fit(summary))
    except OSError as error:
        logging.getLogger(__name__).error("cannot write the termination message to %s: %s", path, error)


def fit(summary: Any) -> bytes:
    """``summary`` as JSON of at most TERMINATION_LIMIT bytes.

    Raises ValueError when it is too long and has no ``message`` that could be shortened.
    """
    text = dumps(summary).encode()
    if len(text) <= TERMINATION_LIMIT:
        return text
    message = getattr(summary, "message", None)
    if not isinstance(message, str):
        raise ValueError(f"a termination message of {len(text)} bytes exceeds {TERMINATION_LIMIT}")
    data = json.loads(text)
    keep = len(message)
    while len(text) > TERMINATION_LIMIT:
        keep = keep * 3 // 4
        # The end of a log matters more than its beginning.
        data["message"] = "... " + message[-keep:]
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return text


def run(main: Callable[[], ExitCode | None]) -> None:
    """Runs ``main`` and exits: 0, the error's own code with a FailureSummary, or BUG with the traceback's end."""
    logging.basicConfig(
        level=os.environ.get("KUBETUNE_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        code = main() or ExitCode.OK
    except KubeTuneError as error:
        logging.getLogger("kubetune").error("%s: %s", error.reason, error.message)
        write_termination(FailureSummary(SCHEMA, error.reason, error.message, int(error.code)))
        code = error.code
    except Exception as error:  # the last line of defence: the user must see what happened
        trace = traceback.format_exc()
        logging.getLogger("kubetune").error("%s", trace)
        message = f"{type(error).__name__}: {error}\n{trace}"
        write_termination(FailureSummary(SCHEMA, "InternalError", message, int(ExitCode.BUG)))
        code = ExitCode.BUG
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(int(code))
