"""``python -m kubetune_trainer preflight|prepare|train``; see preflight/, prepare.py and train.py."""

from __future__ import annotations

import argparse
import logging
import os

from kubetune_contract import ExitCode, run
from kubetune_trainer.processes.launch import die_with_launcher
from kubetune_trainer.processes.place import Place
from kubetune_trainer.processes.stop import StopRequest


def _preflight() -> ExitCode | None:
    from .preflight.command import preflight  # noqa: PLC0415 (no command pays for another's imports)

    return preflight()


def _prepare() -> ExitCode | None:
    from .prepare import prepare  # noqa: PLC0415 (neither command pays for the other's imports)

    return prepare()


def _train() -> ExitCode | None:
    # Before torch's import, which takes seconds during which SIGTERM must not be lost.
    stop = StopRequest.installed()
    if Place.here().several:
        die_with_launcher()
    # Everything a hub could give was fetched by prepare.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Where CPUs are shared, idle OpenMP threads that spin take them from the ones that compute: up to ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    # They announce things to developers, the first at its import.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    from .train import train  # noqa: PLC0415 (neither command pays for the other's imports)

    return train(stop)


def main() -> None:
    """Runs the command and exits with the contract's code."""
    parser = argparse.ArgumentParser(prog="kubetune_trainer", description=__doc__)
    commands = {"preflight": _preflight, "prepare": _prepare, "train": _train}
    parser.add_argument("command", choices=commands)
    command = parser.parse_args().command
    try:
        run(commands[command])
    except SystemExit as end:
        if command == "train" and Place.here().several:
            # Torch's threads that talk to the other processes may abort when Python takes down what they use.
            os._exit(end.code if isinstance(end.code, int) else int(ExitCode.BUG))
        raise


if __name__ == "__main__":
    main()
