"""``python -m tests.bench.training [--rounds N]``: table on standard error, JSON on standard output.

Runs inside the trainer's image, or with ``--here`` in this Python, which then needs the trainer's requirements.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import tempfile
from pathlib import Path

CONTEST = "tests.bench.training.contest"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="trainings per contender (default 3)")
    parser.add_argument("--here", action="store_true", help="in this Python, not in the image")
    options = parser.parse_args()
    if not options.here:
        return _inside(options.rounds)
    sys.argv = [CONTEST, str(options.rounds)]
    runpy.run_module(CONTEST, run_name="__main__", alter_sys=True)
    return 0


def _inside(rounds: int) -> int:
    # What builds images is not in the image.
    from images.build.run import Command, Mount, run  # noqa: PLC0415
    from images.build.session import Session  # noqa: PLC0415
    from tests import inside  # noqa: PLC0415

    session = Session.start(["trainer"])
    (image,) = session.build().values()
    with tempfile.TemporaryDirectory(prefix="kubetune-bench-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        inside.source_roots(folder)
        mounts = (
            Mount(inside.ROOT / "tests", "/src/tests"),
            Mount(folder, "/src/images"),
            Mount(inside.object_store(), "/usr/local/bin/versitygw"),
        )
        environment = {"PYTHONPATH": "/opt/kubetune:/src", "HOME": "/tmp"}
        return run(session.engine, Command(image, ["python", "-m", CONTEST, str(rounds)], mounts, environment))


if __name__ == "__main__":
    sys.exit(main())
