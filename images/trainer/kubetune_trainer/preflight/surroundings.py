"""What the run depends on outside of itself: the store, the tracking server, this machine's CPU and disk."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import Tracking
from kubetune_shared.store import ConflictError, Store, UnsupportedError
from kubetune_shared.store_errors import output_errors

PROBE_BYTES = 4 << 20
MATRIX = 1024
"""Rows of the matrices that are multiplied to see how fast a core is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """What was seen of the place the results go to."""

    bytes_per_second: float
    conditional: bool
    """Whether it refuses to replace an object that changed in between."""


def try_output(store: Store, output: str) -> Output:
    """Writes below ``output`` and removes it again. Raises KubeTuneError as every write does."""
    with output_errors():
        return _try_output(store, f"{output.rstrip('/')}/.probe-{secrets.token_hex(8)}")


def _try_output(store: Store, probe: str) -> Output:
    try:
        conditional = _is_conditional(store, probe)
        data = os.urandom(PROBE_BYTES)
        started = time.monotonic()
        store.write(data, probe)
        taken = time.monotonic() - started
    finally:
        store.delete(probe)
    return Output(PROBE_BYTES / max(taken, 1e-6), conditional)


def _is_conditional(store: Store, probe: str) -> bool:
    try:
        store.put_if(b"first", probe, None)
        store.put_if(b"second", probe, None)
    except ConflictError:
        return True
    except UnsupportedError:
        return False
    return False


def tracker_problem(tracking: Tracking | None, seconds: float = 5.0) -> str | None:
    """Why metrics could not be sent now; None when they could, or when there is no server to send them to."""
    if tracking is None or not tracking.uri.startswith(("http://", "https://")):
        return None
    try:
        urllib.request.urlopen(f"{tracking.uri.rstrip('/')}/health", timeout=seconds).close()  # noqa: S310 (checked)
    except urllib.error.HTTPError as error:
        # It answers; a proxy before it may want credentials that its health page is not sent.
        return f"answered {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def core_tflops(seconds: float = 0.3) -> float:
    """32-bit tera-operations per second of one core, from the best of repeated matrix products."""
    # One thread, whatever the node has: read by the library when it is loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    import numpy as np  # noqa: PLC0415 (after the threads are set)

    left = np.ones((MATRIX, MATRIX), dtype=np.float32)
    best, end = float("inf"), time.monotonic() + seconds
    while best == float("inf") or time.monotonic() < end:
        started = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - started)
    return float(2 * MATRIX**3 / best / 1e12)


def free_bytes(folder: Path) -> int:
    """Of the disk that scratch space is taken from, on this node."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
