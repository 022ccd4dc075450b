"""Pins every Python package of every image by version and hash, with `uv pip compile`.

The torch layer comes in two builds that need different packages beside them: PyPI's CUDA build
brings NVIDIA's libraries, the CPU build brings none. The images above the layer leave out whatever
the layer holds, at the versions it holds.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from images.build.errors import ImageBuildError

PYTHON_VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_28"
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
_CUDA_ONLY = re.compile(r"^(torch|triton|cuda-.+|nvidia-.+)$")


@dataclass(frozen=True)
class Lock:
    """One lock file: what it is compiled from, what it must agree with, what it leaves out."""

    source: str
    target: str
    constraints: str | None = None
    overrides: str | None = None
    omit: tuple[str, ...] = field(default=())


def locked_names(text: str) -> tuple[str, ...]:
    """Names of the packages that a lock file pins, in its order."""
    return tuple(_NAME.findall(text))


def command(lock: Lock) -> list[str]:
    """The `uv` command line that writes one lock file."""
    line = ["uv", "pip", "compile", "--quiet", "--no-config", "--generate-hashes"]
    line += ["--python-version", PYTHON_VERSION, "--python-platform", PLATFORM]
    line += ["--custom-compile-command", "python3 -m images.build lock"]
    if lock.constraints:
        line += ["--constraints", lock.constraints]
    if lock.overrides:
        line += ["--overrides", lock.overrides]
    for name in lock.omit:
        line += ["--no-emit-package", name]
    return [*line, lock.source, "--output-file", lock.target]


def _compile(root: Path, lock: Lock, *, upgrade: bool) -> None:
    line = command(lock) + (["--upgrade"] if upgrade else [])
    try:
        subprocess.run(line, cwd=root, check=True)
    except FileNotFoundError:
        raise ImageBuildError(
            "Locking needs uv, which is not on PATH. Install it (pip install uv) and run again."
        ) from None
    except subprocess.CalledProcessError:
        raise ImageBuildError(f"{lock.source} has no solution; uv's message above says which pins disagree.") from None


def lock_all(root: Path, *, upgrade: bool = False) -> None:
    """Write every lock file below `root`; `upgrade` also takes newer versions where allowed."""
    cuda = "images/torch/requirements-cuda.txt"
    _compile(root, Lock("images/torch/requirements.in", cuda), upgrade=upgrade)
    layer = locked_names((root / cuda).read_text())
    gpu_only = tuple(name for name in layer if _CUDA_ONLY.match(name))
    locks = [
        Lock("images/torch/requirements.in", "images/torch/requirements-cpu.txt", cuda, None, gpu_only),
        Lock("pyproject.toml", "operator/requirements.txt"),
        Lock(
            "images/mlflow/requirements.in", "images/mlflow/requirements.txt", overrides="images/mlflow/overrides.txt"
        ),
        Lock("images/server/requirements-gpu.in", "images/server/requirements-gpu.txt"),
        Lock(
            "images/server/requirements.in",
            "images/server/requirements.txt",
            cuda,
            "images/server/overrides.txt",
            layer,
        ),
    ]
    locks += [
        Lock(f"images/{name}/requirements.in", f"images/{name}/requirements.txt", cuda, None, layer)
        for name in ("trainer", "evaluator")
    ]
    for lock in locks:
        print(f"locking {lock.target}", flush=True)
        _compile(root, lock, upgrade=upgrade)
