"""``python -m kubetune_trainer prepare|train``; see prepare.py and train.py."""

from __future__ import annotations

import argparse
import logging
import os

from kubetune_contract import ExitCode, run

from .stop import StopRequest


def _prepare() -> ExitCode | None:
    from .prepare import prepare  # noqa: PLC0415 (neither command pays for the other's imports)

    return prepare()


def _train() -> ExitCode | None:
    # Before torch's import, which takes seconds during which SIGTERM must not be lost.
    stop = StopRequest.installed()
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
    parser.add_argument("command", choices=("prepare", "train"))
    command = parser.parse_args().command
    run(_prepare if command == "prepare" else _train)


if __name__ == "__main__":
    main()
