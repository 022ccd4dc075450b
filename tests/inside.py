"""Runs one image's tests inside the image: its Python, its libraries and the packages built into it.

``python -m tests.inside trainer [--junit-xml=FILE] [PYTEST OPTIONS]``. Of this machine the container sees the checkout
(read-only), the programs that tests are run with and a folder for the report.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from images.build.choices import Wishes, cache_folder
from images.build.errors import ImageBuildError
from images.build.run import Command, Mount, run
from images.build.session import Session

ROOT = Path(__file__).resolve().parents[1]
SUITES = {"trainer": "tests/trainer", "evaluator": "tests/evaluator", "server-cpu": "tests/server"}
TOOLS = ("hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "pytest-asyncio", "sortedcontainers")
IMAGES_PYTHON = "3.11"
# Behind the image's own libraries, so that none of them is replaced.
START = "import sys; sys.path.append('/tools'); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def locked(text: str, names: tuple[str, ...]) -> str:
    """The named packages' entries of a requirements file, with their hashes."""
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    found = {match[1]: entry for entry in entries if (match := re.match(r"([a-z0-9.-]+)==", entry))}
    missing = [name for name in names if name not in found]
    if missing:
        raise ImageBuildError(f"requirements-dev.txt does not pin {', '.join(missing)}: run `make lock`")
    return "".join(found[name] for name in names)


def tools() -> Path:
    """The folder with pytest and what it needs, installed once for each set of versions."""
    wanted = locked((ROOT / "requirements-dev.txt").read_text(), TOOLS)
    folder = cache_folder(os.environ) / f"pytest-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    print(f"installing pytest for the images into {folder}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-pytest-", dir=folder.parent) as made:
        Path(made, "requirements.txt").write_text(wanted)
        line = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        line += ["--require-hashes", "--only-binary=:all:", "--python-version", IMAGES_PYTHON]
        line += ["--target", f"{made}/tools", "--requirement", f"{made}/requirements.txt"]
        if subprocess.run(line, check=False).returncode:
            raise ImageBuildError("pip could not install pytest for the images; its message is above")
        for old in folder.parent.glob("pytest-*"):
            shutil.rmtree(old, ignore_errors=True)
        Path(made, "tools").rename(folder)
    return folder


def source_roots(folder: Path, own: str) -> None:
    """Makes the tests' source roots: the image's own packages are where it has them.

    Those it lacks are the checkout's, for tests that compare the image's code with another image's.
    """
    for place in (ROOT / "images").iterdir():
        if any(place.glob("kubetune_*")):
            in_image = place.name in {"contract", "shared", own}
            (folder / place.name).symlink_to("/opt/kubetune" if in_image else f"/checkout/{place.name}")


def command(image: str, suite: str, folder: Path, options: list[str]) -> Command:
    """The container's command; ``folder`` gets ``report/junit.xml``."""
    for name in ("images", "report"):
        (folder / name).mkdir()
    source_roots(folder / "images", Path(suite).name)
    folder.chmod(0o755)
    (folder / "report").chmod(0o777)
    server = (cache_folder(os.environ) / "bin" / "versitygw").resolve()
    if not server.is_file():
        raise ImageBuildError(f"{server} is not there: run `make tools`")
    mounts = (
        Mount(ROOT / "tests", "/src/tests"),
        Mount(ROOT / "pyproject.toml", "/src/pyproject.toml"),
        Mount(folder / "images", "/src/images"),
        Mount(ROOT / "images", "/checkout"),
        Mount(tools(), "/tools"),
        Mount(server, "/usr/local/bin/versitygw"),
        Mount(folder / "report", "/report", writable=True),
    )
    line = ["python", "-c", START, "-q", "-p", "no:cacheprovider", "--rootdir=/src", "-c", "/src/pyproject.toml"]
    return Command(image, [*line, "--junit-xml=/report/junit.xml", f"/src/{suite}", *options], mounts)


def main(arguments: list[str]) -> int:
    """Builds the image unless it is there and runs its tests; returns pytest's exit status."""
    name, *rest = arguments or [""]
    if name not in SUITES:
        print(f"unknown image {name!r}; those with tests: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    report = next((item.partition("=")[2] for item in rest if item.startswith("--junit-xml=")), None)
    options = [item for item in rest if not item.startswith("--junit-xml=")]
    try:
        # The CPU build of vLLM stands on the CPU build of torch, also where the other images have CUDA's.
        session = Session.start([name], Wishes(torch="cpu" if name == "server-cpu" else None))
        (image,) = session.build().values()
        with tempfile.TemporaryDirectory(prefix="kubetune-inside-") as made:
            status = run(session.engine, command(image, SUITES[name], Path(made), options))
            written = Path(made, "report", "junit.xml")
            if report and written.exists():
                shutil.copyfile(written, report)
    except ImageBuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
