"""A real S3 server (versitygw) on a free loopback port, over a temporary folder, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import ObjectStore

from .ports import free_port

ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret"


@dataclass(frozen=True)
class S3Server:
    """Where it answers, and the folder whose sub-folders are its buckets."""

    endpoint: str
    root: Path

    @property
    def store(self) -> ObjectStore:
        """The contract's view of it."""
        return ObjectStore(endpoint=self.endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """Credentials for a client process."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def make_bucket(self, name: str) -> None:
        """An empty bucket."""
        (self.root / name).mkdir()


def binary() -> str:
    """Path of versitygw, which ``make tools`` puts into the cache folder."""
    cache = Path(os.environ.get("KUBETUNE_CACHE", Path.home() / ".cache" / "kubetune"))
    found = shutil.which("versitygw", path=f"{cache / 'bin'}:{os.environ.get('PATH', '')}")
    if not found:
        raise FileNotFoundError("versitygw is not there; run `make tools` first")
    return found


@contextmanager
def s3_server(folder: Path, port: int | None = None) -> Iterator[S3Server]:
    """Runs the server over ``folder``; everything in it is kept when the server stops."""
    port = port or free_port()
    root, sidecar, accounts = folder / "buckets", folder / "metadata", folder / "accounts"
    for made in (root, sidecar, accounts):
        made.mkdir(parents=True, exist_ok=True)
    argv = [binary(), "--port", f"127.0.0.1:{port}", "--iam-dir", str(accounts)]
    with (folder / "versitygw.log").open("ab") as log:
        process = subprocess.Popen(
            [*argv, "posix", "--sidecar", str(sidecar), str(root)],
            env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY, "HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(port, process)
            yield S3Server(f"http://127.0.0.1:{port}", root)
        finally:
            process.terminate()
            process.wait(10)


class SwitchableS3:
    """A server that a test turns off and on again: same port, same content."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._running: ExitStack | None = None
        self.server = self.on()

    def on(self) -> S3Server:
        """Answers from now on."""
        self._running = ExitStack()
        return self._running.enter_context(s3_server(self._folder, self._port))

    def off(self) -> None:
        """Refuses connections from now on; nothing happens when it does so already."""
        if self._running:
            self._running.close()
        self._running = None


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"versitygw ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("versitygw did not answer within 15 s")
