"""Runs a command in a built image, as a cluster would: user 65532 and no files of this machine but those mounted."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from images.build.engine import Engine
from images.build.errors import ImageBuildError

USER = "65532:65532"
# vLLM's processes talk through it; containers get 64 MiB by default.
_SHM_SIZE = "1g"
_CONTAINER = "kubetune-run"
_STOP_SECONDS = 20


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine at a path inside, read-only unless `writable`."""

    source: Path
    target: str
    writable: bool = False

    @property
    def argument(self) -> str:
        """What all three engines take after `--volume`."""
        return f"{self.source}:{self.target}:{'rw' if self.writable else 'ro'}"


@dataclass(frozen=True)
class Command:
    """What to run in which image. `argv` takes the place of the image's entrypoint."""

    image: str
    argv: Sequence[str]
    mounts: Sequence[Mount] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def parse_mount(text: str) -> Mount:
    """`SRC:DST` or `SRC:DST:rw`; a missing source is an `ImageBuildError`, as engines would make an empty folder."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in {"", "ro", "rw"}:
        raise ImageBuildError(f"--mount {text}: write SOURCE:/TARGET, or SOURCE:/TARGET:rw to let it be written.")
    path = Path(source).resolve()
    if not path.exists():
        raise ImageBuildError(f"--mount {text}: there is no {path}.")
    return Mount(path, target, mode == "rw")


def parse_setting(text: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ImageBuildError(f"--env {text}: write NAME=VALUE.")
    return name, value


def _options(command: Command) -> list[str]:
    line = ["--user", USER]
    for mount in command.mounts:
        line += ["--volume", mount.argument]
    for name, value in sorted(command.environment.items()):
        line += ["--env", f"{name}={value}"]
    return line


def run_arguments(command: Command) -> list[str]:
    """The arguments of docker and podman."""
    line = ["run", "--rm", "--network", "host", "--shm-size", _SHM_SIZE, *_options(command)]
    return [*line, "--entrypoint", command.argv[0], command.image, *command.argv[1:]]


def from_arguments(command: Command, name: str) -> list[str]:
    """The arguments that make buildah's container."""
    return ["from", "--quiet", "--pull=never", "--shm-size", _SHM_SIZE, "--name", name, command.image]


def buildah_arguments(command: Command, name: str) -> list[str]:
    """The arguments that run the command in it. Isolation by chroot leaves the network to the host."""
    return ["run", "--isolation", "chroot", *_options(command), name, "--", *command.argv]


def run(engine: Engine, command: Command) -> int:
    """Run the command with this process's standard streams; returns its exit status."""
    if engine.name != "buildah":
        return _wait(engine, run_arguments(command))
    _remove_orphans(engine)
    name = f"{_CONTAINER}-{os.getpid()}"
    try:
        engine.check(*from_arguments(command, name))
        return _wait(engine, buildah_arguments(command, name))
    finally:
        engine.ask("rm", name)


def _wait(engine: Engine, arguments: Sequence[str]) -> int:
    """Run to the end; interrupted or told to stop, end the command before giving up."""
    with engine.start(*arguments) as process, _stoppable():
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends this process like Ctrl-C does: by an exception, so that nothing is left behind."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _remove_orphans(engine: Engine) -> None:
    """Remove the containers of runs that were killed."""
    listed = engine.ask("containers", "--format", "{{.ContainerName}}").stdout.split()
    for name in orphans(listed, is_alive=lambda pid: Path("/proc", str(pid)).exists()):
        engine.ask("rm", name)


def orphans(names: Sequence[str], is_alive: Callable[[int], bool]) -> list[str]:
    """Our containers whose process is gone."""
    ours = [(name, re.fullmatch(rf"{_CONTAINER}-(\d+)", name)) for name in names]
    return [name for name, found in ours if found and not is_alive(int(found[1]))]
