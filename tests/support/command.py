"""An image's commands as a pod would run them: folders of their own, a configuration file, a termination message."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from kubetune_contract import dumps

from .ports import free_port

ROOT = Path(__file__).resolve().parents[2]
Config = TypeVar("Config")


def source_roots(image: str) -> list[Path]:
    """Where an image's own packages are in this checkout."""
    return [ROOT / "images" / name for name in ("contract", "shared", image)]


@dataclass
class Pod(Generic[Config]):
    """One pod's work folder, and the commands run in it one after the other."""

    module: ClassVar[str]
    port_variable: ClassVar[str] = "KUBETUNE_PROGRESS_PORT"
    seconds: ClassVar[float] = 300
    """What ``run`` gives a command."""

    config: Config
    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)

    def prepared(self) -> dict[str, str]:
        """A command's environment, once its configuration is where that says."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(dumps(self.config))
        (self.folder / "termination").unlink(missing_ok=True)
        return self.environment | {
            "KUBETUNE_CONFIG": str(self.folder / "config.json"),
            "KUBETUNE_TERMINATION_LOG": str(self.folder / "termination"),
            "KUBETUNE_WORK_DIR": str(self.work),
            self.port_variable: str(self.port),
        }

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.folder / "work"

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """The command as its container would run it."""
        environment = self.prepared()
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, command], env=environment, stdout=log, stderr=log
            )

    def run(self, command: str) -> int:
        """Its exit code."""
        return self.start(command).wait(self.seconds)

    def succeed(self, *commands: str) -> dict[str, Any]:
        """Runs the commands, which must succeed, and returns the last one's termination message."""
        for command in commands:
            assert self.run(command) == 0, self.log
        return self.termination

    @property
    def termination(self) -> dict[str, Any]:
        """The termination message."""
        found: dict[str, Any] = json.loads((self.folder / "termination").read_text())
        return found

    @property
    def log(self) -> str:
        """Everything the commands printed."""
        return (self.folder / "log").read_text()

    def progress(self) -> dict[str, Any]:
        """What ``/progress`` answers; empty while nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}
