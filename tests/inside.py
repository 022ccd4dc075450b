"""Runs an image's tests inside the image: its Python, its libraries and the packages built into it.

``python -m tests.inside all|trainer|evaluator|server-cpu [--junit-xml=FILE] [PYTEST OPTIONS]``. Of this machine the
container sees the tests, the programs they are run with and a folder for the report, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from images.build.choices import cache_folder
from images.build.errors import ImageBuildError
from images.build.run import Command, Mount, run
from images.build.session import Session
from tests.support.former import NoHistoryError, unpack

ROOT = Path(__file__).resolve().parents[1]
SUITES = {"trainer": "tests/trainer", "evaluator": "tests/evaluator", "server-cpu": "tests/server"}
TOOLS = (
    "execnet",
    "hypothesis",
    "iniconfig",
    "packaging",
    "pluggy",
    "pygments",
    "pytest",
    "pytest-asyncio",
    "pytest-xdist",
    "sortedcontainers",
)
IMAGES_PYTHON = "3.11"
# Behind the image's own libraries, so that none of them is replaced; xdist's workers read it, too.
START = "import sys; sys.path.append('/tools')\n"
FORMER = "02a6648"
"""The last commit before runs knew their base, and validation losses were those of learned tokens."""
FORMER_PARTS = tuple(f"images/{name}" for name in ("contract", "shared", "trainer"))
WORKERS = {"trainer": 2}
"""Of the suite that takes longest; most of it is one process waiting for the next."""


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


def source_roots(folder: Path) -> None:
    """Makes the tests' source roots: in the image each of them is where its packages are."""
    for place in (ROOT / "images").iterdir():
        if any(place.glob("kubetune_*")):
            (folder / place.name).symlink_to("/opt/kubetune")


def object_store() -> Path:
    """The S3 server's program. Raises ImageBuildError when it is not built."""
    server = (cache_folder(os.environ) / "bin" / "versitygw").resolve()
    if not server.is_file():
        raise ImageBuildError(f"{server} is not there: run `make tools`")
    return server


def former(folder: Path) -> None:
    """The trainer's code as of FORMER, for the tests of an upgrade; ``reason`` says why it is not there."""
    try:
        unpack(FORMER, folder, FORMER_PARTS)
    except NoHistoryError as error:
        (folder / "reason").write_text(f"commit {FORMER} cannot be had (a shallow clone?): {error}")


def command(image: str, suite: str, folder: Path, options: list[str]) -> Command:
    """The container's command; ``folder`` gets ``report/junit.xml``."""
    for name in ("images", "report", "start", "former"):
        (folder / name).mkdir()
    source_roots(folder / "images")
    former(folder / "former")
    (folder / "start" / "sitecustomize.py").write_text(START)
    folder.chmod(0o755)
    (folder / "report").chmod(0o777)
    mounts = (
        Mount(ROOT / "tests", "/src/tests"),
        Mount(ROOT / "pyproject.toml", "/src/pyproject.toml"),
        Mount(folder / "images", "/src/images"),
        Mount(tools(), "/tools"),
        Mount(folder / "start", "/start"),
        Mount(folder / "former", "/former"),
        Mount(object_store(), "/usr/local/bin/versitygw"),
        Mount(folder / "report", "/report", writable=True),
    )
    line = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=/src", "-c", "/src/pyproject.toml"]
    line += ["--junit-xml=/report/junit.xml", f"/src/{suite}", *options]
    return Command(image, line, mounts, {"PYTHONPATH": "/opt/kubetune:/start"})


def one(name: str, report: Path | None, options: list[str]) -> int:
    """Builds the image unless it is there and runs its tests; returns pytest's exit status."""
    session = Session.start([name])
    (image,) = session.build().values()
    with tempfile.TemporaryDirectory(prefix="kubetune-inside-") as made:
        workers = [f"-n{WORKERS[name]}"] if name in WORKERS else []
        status = run(session.engine, command(image, SUITES[name], Path(made), [*workers, *options]))
        written = Path(made, "report", "junit.xml")
        if report and written.exists():
            shutil.copyfile(written, report)
    return status


def every(report: Path | None, options: list[str]) -> int:
    """Runs all suites, two at a time, as most of each is one process waiting for the next; the worst exit status.

    What a suite says appears when it has ended.
    """
    tools()
    with tempfile.TemporaryDirectory(prefix="kubetune-inside-") as made:

        def apart(name: str) -> int:
            started = time.monotonic()
            line = [sys.executable, "-m", "tests.inside", name, f"--junit-xml={made}/{name}.xml", *options]
            done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            text = done.stdout.decode(errors="replace")
            print(f"\n--- {name} ({time.monotonic() - started:.0f} s)\n{text}", flush=True)
            return done.returncode

        with ThreadPoolExecutor(max_workers=2) as pool:
            statuses = list(pool.map(apart, SUITES))
        if report:
            merge([Path(made, f"{name}.xml") for name in SUITES], report)
    return max(map(abs, statuses))


def merge(parts: list[Path], report: Path) -> None:
    """Writes one JUnit report of those that are there."""
    root = ElementTree.Element("testsuites")
    for part in parts:
        if part.exists():
            root.extend(ElementTree.parse(part).getroot().iter("testsuite"))
    ElementTree.ElementTree(root).write(report, encoding="utf-8", xml_declaration=True)


def main(arguments: list[str]) -> int:
    """Runs the suite named, or all; returns the exit status."""
    name, *rest = arguments or [""]
    if name not in {*SUITES, "all"}:
        print(f"unknown image {name!r}; those with tests: all, {', '.join(SUITES)}", file=sys.stderr)
        return 2
    reports = [Path(item.partition("=")[2]) for item in rest if item.startswith("--junit-xml=")]
    report = reports[-1] if reports else None
    options = [item for item in rest if not item.startswith("--junit-xml=")]
    try:
        return every(report, options) if name == "all" else one(name, report, options)
    except ImageBuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
