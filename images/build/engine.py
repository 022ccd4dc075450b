"""The three tools that build and keep images, behind one face: docker, podman, buildah."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from images.build.errors import ImageBuildError

NAMESPACE = "localhost/kubetune"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Build:
    """One call of the build command; paths are absolute except `dockerfile`."""

    reference: str
    context: Path
    dockerfile: str
    stage: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredImage:
    """One name in the engine's store. `created` is in seconds since 1970, 0 where unknown."""

    reference: str
    identity: str
    created: int
    size: str


@dataclass(frozen=True)
class Engine:
    """A build tool and the environment it runs in."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> None:
        """Run the tool with its output on the terminal; a failure is an `ImageBuildError`."""
        line = [self.name, *arguments]
        status = subprocess.run(line, env=self._environment(), check=False).returncode
        if status != 0:
            raise ImageBuildError(f"`{' '.join(line[:2])}` ended with status {status}; its message is above.")

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the tool and return what it said, whatever its status."""
        return subprocess.run(
            [self.name, *arguments],
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
        )

    def check(self, *arguments: str) -> str:
        """Run the tool and return what it said; a failure is an `ImageBuildError` with its message."""
        answer = self.ask(*arguments)
        if answer.returncode != 0:
            raise ImageBuildError(f"`{self.name} {arguments[0]}` failed: {answer.stderr.strip()}")
        return answer.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the tool with this process's standard streams."""
        return subprocess.Popen([self.name, *arguments], env=self._environment())

    @contextmanager
    def stream(self, *arguments: str) -> Iterator[IO[bytes]]:
        """What the tool writes to its standard output, while it writes it."""
        line = [self.name, *arguments]
        with subprocess.Popen(line, env=self._environment(), stdout=subprocess.PIPE) as process:
            yield cast("IO[bytes]", process.stdout)
        if process.returncode != 0:
            raise ImageBuildError(
                f"`{' '.join(line[:2])}` ended with status {process.returncode}; its message is above."
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def build(self, build: Build) -> None:
        """Build one stage of a Dockerfile and name the result."""
        self.run(*build_arguments(self.name, build, os.environ))

    def exists(self, reference: str) -> bool:
        """Whether the store holds the image."""
        question = ("inspect", "--type", "image") if self.name == "buildah" else ("image", "inspect")
        return self.ask(*question, reference).returncode == 0

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False if it cannot be had."""
        print(f"fetching {reference}", flush=True)
        return self.ask("pull", "--quiet", reference).returncode == 0

    def push(self, reference: str, destination: str) -> None:
        """Send an image to a registry under another name; credentials are the tool's own."""
        if self.name == "docker":
            self.run("tag", reference, destination)
            self.run("push", destination)
        else:
            self.run("push", reference, f"docker://{destination}")

    def remove(self, references: Sequence[str]) -> None:
        """Take names out of the store; images that others stand on keep their layers."""
        for reference in references:
            self.ask("rmi", reference)

    def stored(self) -> list[StoredImage]:
        """KubeTune's images in the store, newest first."""
        listing = (
            ("images", "--format", "{{json .}}")
            if self.name == "docker"
            else (
                "images",
                "--json" if self.name == "buildah" else "--format=json",
            )
        )
        rows = parse_listing(self.name, self.check(*listing))
        return sorted(rows, key=lambda image: image.created, reverse=True)


def build_arguments(tool: str, build: Build, environment: Mapping[str, str]) -> list[str]:
    """The arguments of the build command of a tool."""
    line = ["bud" if tool == "buildah" else "build", "--file", build.dockerfile]
    line += ["--tag", build.reference]
    if build.stage:
        line += ["--target", build.stage]
    for name, value in sorted(build.arguments.items()):
        line += ["--build-arg", f"{name}={value}"]
    for name, path in sorted(build.contexts.items()):
        line += ["--build-context", f"{name}={path}"]
    for name, path in sorted(build.secrets.items()):
        line += ["--secret", f"id={name},src={path}"]
    if tool == "docker":
        # podman and buildah hand the proxy settings over by themselves.
        line += [f"--build-arg={name}" for name in _PROXIES if environment.get(name)]
    else:
        # One layer for each build: the steps are cached by their tags, not by their layers.
        line += ["--layers=false"]
    return [*line, str(build.context)]


def parse_listing(tool: str, text: str) -> list[StoredImage]:
    """Read the image listing of a tool; names outside KubeTune's own are left out."""
    rows: list[Any]
    rows = [json.loads(line) for line in text.splitlines()] if tool == "docker" else json.loads(text)
    images: list[StoredImage] = []
    for row in rows or []:
        names = _names(tool, row)
        images += [
            StoredImage(
                reference=name,
                identity=str(row.get("id") or row.get("Id") or row.get("ID") or ""),
                created=_created(row),
                size=str(row.get("size") or row.get("Size") or ""),
            )
            for name in names
            if name.startswith(f"{NAMESPACE}/")
        ]
    return images


def _names(tool: str, row: Mapping[str, Any]) -> Iterable[str]:
    if tool == "docker":
        return [f"{row['Repository']}:{row['Tag']}"]
    return row.get("names") or row.get("Names") or []


def _created(row: Mapping[str, Any]) -> int:
    for key in ("createdatraw", "created", "Created", "CreatedAt"):
        value = row.get(key)
        if isinstance(value, int):
            return value
        if isinstance(value, str) and value.isdigit():
            return int(value)
    return 0


def _storage_driver() -> str:
    try:
        filesystems = Path("/proc/filesystems").read_text()
    except OSError:
        filesystems = ""
    if "overlay" in filesystems:
        return "overlay"
    print("This kernel has no overlay file system: images take more disk and time.", flush=True)
    return "vfs"


def _buildah() -> Engine:
    settings = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": _storage_driver()}
    return Engine("buildah", {key: os.environ.get(key, value) for key, value in settings.items()})


def detect(wanted: str | None) -> Engine:
    """The engine asked for, else the first that answers: docker, podman, buildah."""
    candidates = [wanted] if wanted else ["docker", "podman", "buildah"]
    for name in candidates:
        if shutil.which(name) is None:
            continue
        engine = _buildah() if name == "buildah" else Engine(name)
        if engine.ask("info").returncode == 0:
            return engine
    raise ImageBuildError(
        f"No image builder works here (tried {', '.join(candidates)}). Start Docker, or install "
        "podman or buildah (apt-get install buildah) and run again."
    )
