"""An older release of KubeTune, out of this repository's history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PARTS = ("operator", "images/contract", "charts")
"""What an installation needs: the operator with the contract it imports, and the chart with the CRDs."""


class NoHistoryError(Exception):
    """The commit cannot be had; the message is git's own."""


def unpack(commit: str, folder: Path, parts: Iterable[str] = PARTS) -> Path:
    """The parts as of ``commit``, below ``folder``. Raises NoHistoryError where the checkout does not have it."""
    argv = ["git", "-C", str(ROOT), "archive", commit, *parts]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except OSError as error:
        raise NoHistoryError(str(error)) from None
    if done.returncode:
        raise NoHistoryError(done.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
