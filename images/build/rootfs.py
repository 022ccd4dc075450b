"""A base image made on this machine, for where no registry can be reached.

Debian 12 from its package mirrors, unpacked by mmdebstrap: it carries the same Python 3.11 as the
public base image does.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from images.build.engine import NAMESPACE, Build, Engine
from images.build.errors import ImageBuildError

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "libgomp1", "libnuma1", "python3", "python3-venv")
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_DOCKERFILE = 'FROM scratch\nADD rootfs.tar /\nCMD ["python3"]\n'


def command(target: str) -> list[str]:
    """The mmdebstrap command line that writes the root file system as a tar file."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        SUITE,
        target,
    ]


def reference() -> str:
    """The name of the local base image; it changes with the recipe."""
    recipe = "\n".join([*command("rootfs.tar"), _DOCKERFILE])
    return f"{NAMESPACE}/rootfs:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def make(engine: Engine) -> str:
    """Build the local base image unless it is there, and return its name."""
    name = reference()
    if engine.exists(name):
        return name
    if shutil.which("mmdebstrap") is None:
        raise ImageBuildError(
            "The public base image cannot be fetched, and making one here needs mmdebstrap. "
            "Install it (apt-get install mmdebstrap), or name a base with --base IMAGE."
        )
    print(f"making a base image with mmdebstrap (about a minute): {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kubetune-rootfs-") as folder:
        _unpack(Path(folder, "rootfs.tar"))
        Path(folder, "Dockerfile").write_text(_DOCKERFILE)
        engine.build(Build(name, Path(folder), str(Path(folder, "Dockerfile"))))
    return name


def _unpack(target: Path) -> None:
    answer = subprocess.run(command(str(target)), check=False, capture_output=True, text=True)
    if answer.returncode != 0:
        last = "\n".join(answer.stderr.splitlines()[-8:])
        raise ImageBuildError(
            f"mmdebstrap could not make a base image (it needs root or user namespaces, and a Debian mirror):\n{last}"
        )
