"""Training jobs as a container would run them: a configuration file, two commands, a termination message."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import Dataset, Hyperparameters, Lora, Owner, TrainConfig
from kubetune_shared.store import Store

from .command import Pod, source_roots
from .s3 import S3Server

SOURCES = source_roots("trainer")


@dataclass
class Trainer(Pod[TrainConfig]):
    """One attempt at a job."""

    module = "kubetune_trainer"
    address_space: int | None = None
    """Bytes a command may map at the most."""

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """The command as its container would run it."""
        process = super().start(command)
        if self.address_space:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (self.address_space, self.address_space))
        return process

    def both(self) -> dict[str, Any]:
        """Runs prepare and train, which must succeed, and returns the summary."""
        return self.succeed("prepare", "train")

    def wait_for_step(self, process: subprocess.Popen[bytes], step: int, seconds: float = 180) -> dict[str, Any]:
        """Until the running training has done ``step`` steps; returns its progress."""
        deadline = time.monotonic() + seconds
        while (seen := self.progress()).get("step", -1) < step:
            assert process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return seen


def upload(server: S3Server, folder: Path, uri: str) -> None:
    """A user's plain upload, without manifest."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    target = server.root / bucket / key
    target.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def rows(count: int = 64) -> list[dict[str, Any]]:
    """A task a tiny model can learn: the word after a number is always the same."""
    return [{"prompt": f"say {n % 8} =", "completion": f" hello {n % 8}"} for n in range(count)]


class Jobs:
    """Makes jobs that share server and model."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server, self.folder, self.count = server, folder, 0

    @property
    def store(self) -> Store:
        """A client with the server's credentials."""
        return Store(self.server.store)

    def data(self, content: list[dict[str, Any]] | str | bytes, name: str = "train.jsonl") -> str:
        """Puts a dataset into the store and returns its URI."""
        self.count += 1
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path = self.server.root / "data" / f"{self.folder.name}-{self.count}" / name
        path.parent.mkdir()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"s3://data/{path.parent.name}/{name}"

    def job(self, data: list[dict[str, Any]] | str | None = None, dataset: Any = None, **changes: Any) -> Trainer:
        """A LoRA job of 8 quick steps, changed by ``changes`` of TrainConfig (``hyperparameters`` is a dict)."""
        self.count += 1
        uid = f"uid-{self.folder.name}-{self.count}"
        hyper = {
            "max_steps": 8,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_sequence_length": 64,
            "learning_rate": 1e-2,
            "logging_steps": 2,
            **changes.pop("hyperparameters", {}),
        }
        uri = self.data(rows() if data is None else data)
        config = TrainConfig(
            schema=1,
            owner=Owner("team", f"job-{self.count}", uid),
            base_model="s3://models/tiny",
            dataset=Dataset(uri, **(dataset or {})),
            output=f"s3://out/{uid}",
            store=self.server.store,
            lora=Lora(rank=4, alpha=8),
            hyperparameters=Hyperparameters(**hyper),
        )
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = {
            **keep,
            **self.server.environment,
            "PYTHONPATH": ":".join(map(str, SOURCES)),
            "OMP_NUM_THREADS": "1",
        }
        return Trainer(dataclasses.replace(config, **changes), self.folder / str(self.count), environment)
