"""All contenders, round by round, so that a slow moment of the machine meets all of them.

``python -m tests.bench.training.contest ROUNDS``, with the trainer's requirements: table on standard error, JSON on
standard output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from kubetune_contract import Dataset, Hyperparameters, Lora, Owner, Tracking, TrainConfig, dumps
from kubetune_shared.rows import load_rows
from kubetune_trainer.data.encoding import Encoder
from tests.bench.reconcile.proc import Machine
from tests.support.command import ROOT, source_roots
from tests.support.s3 import S3Server, free_port, s3_server

from .clock import STARTED
from .material import MAX_LENGTH, Material, make
from .table import table

PEERS = ("transformers.Trainer", "trl.SFTTrainer", "trl.SFTTrainer, packed")
OURS = ("kubetune", "kubetune, packed", "kubetune, checkpoints and MLflow")
HYPER = Hyperparameters(
    learning_rate=1e-3,
    num_train_epochs=1.0,
    per_device_train_batch_size=8,
    gradient_accumulation_steps=1,
    max_sequence_length=MAX_LENGTH,
    warmup_ratio=0.0,
    logging_steps=5,
    save_minutes=0.0,
)
LORA = Lora(rank=8, alpha=16)
SAVES = 4
"""Checkpoints of the run that saves some."""


def run(folder: Path, server: S3Server, material: Material, rounds: int) -> list[dict[str, Any]]:
    """One measurement per contender: medians over the rounds, and all rounds below ``rounds``."""
    contest = Contest(folder, server, material)
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in (*PEERS, *OURS)}
    for number in range(rounds):
        for name, measured in seen.items():
            measured.append(contest.measure(name, number))
            rate = measured[-1]["tokensPerSecond"]
            print(f"round {number + 1}, {name}: {rate:.0f} useful tokens/s", file=sys.stderr, flush=True)
    return list(_medians(seen))


def _medians(seen: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    base = seen["trl.SFTTrainer"]
    plain = seen["transformers.Trainer"]
    for name, rounds in seen.items():
        members = {key: _median(value[key] for value in rounds) for key in rounds[0]}
        ratios = {
            "ofTrl": statistics.median(_ratios(rounds, base, "tokensPerSecond")),
            "ofTrlByCpu": statistics.median(_ratios(rounds, base, "tokensPerCpuSecond")),
            "ofPlain": statistics.median(_ratios(rounds, plain, "tokensPerSecond")),
        }
        yield {"contender": name, **members, **ratios, "rounds": rounds}


def _ratios(mine: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> Iterator[float]:
    return (one[key] / other[key] for one, other in zip(mine, theirs, strict=True))


def _median(values: Iterator[Any]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


class Contest:
    """Runs contenders, each in processes and a folder of its own."""

    def __init__(self, folder: Path, server: S3Server, material: Material) -> None:
        self._folder, self._server, self._material = folder, server, material
        prepared = folder / "prepared"
        self._useful = self._prepare(prepared, HYPER)
        self._plan = {
            "model": str(material.model),
            "rows": str(material.rows),
            "prepared": str(prepared / "inputs" / "train.jsonl"),
            "output": str(folder / "peer"),
            "epochs": HYPER.num_train_epochs,
            "batch": HYPER.per_device_train_batch_size,
            "accumulation": HYPER.gradient_accumulation_steps,
            "learningRate": HYPER.learning_rate,
            "loggingSteps": HYPER.logging_steps,
            "seed": HYPER.seed,
            "maxLength": MAX_LENGTH,
            "rank": LORA.rank,
            "alpha": LORA.alpha,
            "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0)),
            "usefulTokens": self._useful,
        }
        (folder / "plan.json").write_text(json.dumps(self._plan))

    def measure(self, name: str, number: int) -> dict[str, Any]:
        """One training."""
        environment, prepare_seconds = self._environment(), None
        if name in OURS:
            work = self._folder / f"{OURS.index(name)}-{number}"
            hyper, tracking = self._settings(name, work)
            started = time.monotonic()
            self._prepare(work, hyper, tracking)
            prepare_seconds = time.monotonic() - started
            environment |= self._variables(work)
        before = Machine.now()
        argv = [sys.executable, "-m", "tests.bench.training.contenders", name, str(self._folder / "plan.json")]
        environment[STARTED] = str(time.time())
        done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
        now = Machine.now()
        shares = {"stolenShare": before.stolen_share(now), "busyShare": before.busy_share(now)}
        return {**result, "prepareSeconds": prepare_seconds, **shares}

    def _settings(self, name: str, work: Path) -> tuple[Hyperparameters, Tracking | None]:
        if name == "kubetune, packed":
            return dataclasses.replace(HYPER, packing=True), None
        if name == "kubetune, checkpoints and MLflow":
            steps = len(self._material.rows.read_text().splitlines()) // HYPER.per_device_train_batch_size
            return dataclasses.replace(HYPER, save_steps=steps // SAVES), Tracking(f"file://{work}-mlruns", "bench")
        return HYPER, None

    def _prepare(self, work: Path, hyper: Hyperparameters, tracking: Tracking | None = None) -> int:
        """Our init step; returns the tokens of one pass over the rows."""
        work.mkdir()
        uid = work.name
        config = TrainConfig(
            schema=1,
            owner=Owner("bench", uid, uid),
            base_model=self._material.model_uri,
            dataset=Dataset(self._material.rows_uri),
            output=f"s3://out/{uid}",
            store=self._server.store,
            lora=LORA,
            hyperparameters=hyper,
            tracking=tracking,
        )
        (work / "config.json").write_text(dumps(config))
        environment = self._environment() | self._variables(work)
        argv = [sys.executable, "-m", "kubetune_trainer", "prepare"]
        subprocess.run(argv, env=environment, check=True, capture_output=True)
        encoder = Encoder(AutoTokenizer.from_pretrained(self._material.model), MAX_LENGTH)
        return sum(map(len, encoder.encode(load_rows(work / "inputs" / "train.jsonl"), "training").input_ids))

    def _environment(self) -> dict[str, str]:
        path = [*source_roots("trainer"), ROOT, *os.environ.get("PYTHONPATH", "").split(":")]
        return {
            **os.environ,
            **self._server.environment,
            "PYTHONPATH": ":".join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }

    def _variables(self, work: Path) -> dict[str, str]:
        return {
            "KUBETUNE_CONFIG": str(work / "config.json"),
            "KUBETUNE_WORK_DIR": str(work),
            "KUBETUNE_TERMINATION_LOG": str(work / "termination"),
            "KUBETUNE_PROGRESS_PORT": str(free_port()),
        }


def main(rounds: int) -> None:
    """The contest in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="kubetune-bench-") as made:
        folder = Path(made)
        with s3_server(folder / "s3") as server:
            rows = run(folder, server, make(folder, server), rounds)
    print(table(rows), file=sys.stderr)
    json.dump(rows, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main(int(sys.argv[1]))
