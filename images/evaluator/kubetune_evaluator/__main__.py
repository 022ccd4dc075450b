"""``python -m kubetune_evaluator prepare|evaluate``; see prepare.py and evaluate.py."""

from __future__ import annotations

import argparse
import os
import signal

from kubetune_contract import ExitCode, KubeTuneError, run


class _Stopped(BaseException):
    """Raised wherever the signal finds the process: in the middle of a log line an Exception would be swallowed."""


def _stopped(*_: object) -> None:
    raise _Stopped


def _prepare() -> ExitCode | None:
    from .prepare import prepare  # noqa: PLC0415 (neither command pays for the other's imports)

    return prepare()


def _evaluate() -> ExitCode | None:
    # As process 1 of a container, Python would ignore SIGTERM; and torch's import takes seconds.
    signal.signal(signal.SIGTERM, _stopped)
    # Everything a hub could give was fetched by prepare.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Where CPUs are shared, idle OpenMP threads that spin take them from the ones that compute: up to ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from .evaluate import evaluate  # noqa: PLC0415 (neither command pays for the other's imports)

        return evaluate()
    except _Stopped:
        raise KubeTuneError(
            ExitCode.PREEMPTED,
            "Preempted",
            "asked to stop before the end; the next attempt goes on from the answers it has",
        ) from None


def main() -> None:
    """Runs the command and exits with the contract's code."""
    parser = argparse.ArgumentParser(prog="kubetune_evaluator", description=__doc__)
    parser.add_argument("command", choices=("prepare", "evaluate"))
    command = parser.parse_args().command
    run(_prepare if command == "prepare" else _evaluate)


if __name__ == "__main__":
    main()
