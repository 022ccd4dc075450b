"""``python -m kubetune_shared.take hold|send``: the pod's side of ``kubectl tune take`` (manifests/plugin).

``hold SECONDS`` keeps the pod for as long as somebody sends from it, and SECONDS more. ``send URI START SIZE`` writes
an object to standard output from START on. Keys and endpoint are those of the Job the pod was made after; neither ever
leaves the cluster.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore, from_json
from kubetune_contract.paths import CONFIG_PATH

from .store import Store

CHUNK = 8 << 20
"""Bytes asked for at a time: what is in memory."""


def parts(store: Store, uri: str, start: int, size: int) -> Iterator[bytes]:
    """Bytes ``start`` to ``size`` of the object; fewer where it ends before. Raises KubeTuneError as the store does."""
    while start < size:
        wanted = min(CHUNK, size - start)
        part = store.read_range(uri, start, wanted)
        yield part
        start += len(part)
        if len(part) < wanted:
            # The object ends here; beyond it a store refuses.
            return


def send(found: Iterable[bytes], out: BinaryIO, alive: Path) -> None:
    """Writes what was found, and tells ``hold`` after each part that somebody is still there."""
    for part in found:
        alive.touch()
        out.write(part)
    out.flush()


def hold(seconds: float, alive: Path) -> None:
    """Returns once nothing has been sent for ``seconds``."""
    alive.touch()
    while time.time() - alive.stat().st_mtime < seconds:
        time.sleep(1.0)


def _settings() -> ObjectStore:
    """Of whichever workload the pod was made after."""
    config = Path(os.environ.get("KUBETUNE_CONFIG", CONFIG_PATH))
    return from_json(ObjectStore, json.loads(config.read_text(encoding="utf-8"))["store"])


def main(arguments: list[str]) -> int:
    """The exit code; what went wrong is one line on standard error."""
    alive = Path(tempfile.gettempdir()) / "kubetune-take"
    try:
        if arguments[:1] == ["hold"]:
            # Process 1 of a container is told nothing unless it listens.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            hold(float(arguments[1]), alive)
        else:
            uri, start, size = arguments[1:]
            send(parts(Store(_settings()), uri, int(start), int(size)), sys.stdout.buffer, alive)
    except KubeTuneError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        return int(error.code)
    except BrokenPipeError:
        # Whoever took it has gone.
        return int(ExitCode.UNAVAILABLE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
