"""What a cluster of this machine needs before it comes up: its programs and the images, made side by side.

``python -m tests.demo.provision`` makes them; the demo does so by itself.

The programs are compiled, which takes the processor; the images' packages are downloaded and unpacked, which takes the
network and the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys

from images.build.catalog import Choices, default_names
from tests.cluster.layout import cache_root

from .shell import ROOT, DemoError, run_visibly

IMAGES = default_names(Choices(gpu=False))
"""Of a cluster on this machine: it runs pods on the CPU only, whatever the machine has."""
OBJECT_STORE = "versitygw"
"""The image made of one of the programs, and so after them."""
LOG = "images.log"


def provide() -> None:
    """Builds what is missing of both; raises DemoError when it cannot."""
    tools = [sys.executable, "-m", "tests.cluster"]
    run_visibly([*tools, "packages"], os.environ, "the lines above say why; run the same command again to go on")
    path = cache_root() / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"   the images are built meanwhile: {path} tells how far they are", flush=True)
    beside = [sys.executable, "-m", "images.build", "build", *(name for name in IMAGES if name != OBJECT_STORE)]
    with path.open("wb") as log, subprocess.Popen(beside, cwd=ROOT, stdout=log, stderr=log) as images:
        try:
            run_visibly([*tools, "build"], os.environ, "the lines above say why; what is built stays")
        except BaseException:
            images.terminate()
            raise
        status = images.wait()
    said = path.read_text(errors="replace").splitlines()
    print("".join(f"   {line}\n" for line in said if line.startswith("images of this machine")), end="", flush=True)
    if status:
        raise DemoError(f"building the images failed: {path} ends with\n" + "\n".join(said[-15:]))


def main() -> int:
    """Provides; returns the exit status."""
    try:
        provide()
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
