"""``python -m kubetune_server fetch`` and ``... serve``."""

from __future__ import annotations

import sys

from kubetune_contract import ExitCode, KubeTuneError, run


def main() -> ExitCode | None:
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command == "fetch":
        from .fetch import main as fetch  # noqa: PLC0415 (each command loads its own)

        return fetch()
    if command == "serve":
        from .serve import main as serve  # noqa: PLC0415

        return serve()
    raise KubeTuneError(ExitCode.BAD_CONFIG, "InvalidCommand", "usage: python -m kubetune_server fetch|serve")


run(main)
