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

from kubetune_contract import Dataset, Hyperparameters, Lora, Owner, Tracking, TrainConfig
from kubetune_shared.rows import load_rows
from kubetune_trainer.data.encoding import Encoder
from tests.bench.reconcile.proc import Machine
from tests.support.command import ROOT, source_roots
from tests.support.s3 import S3Server, s3_server
from tests.support.training import Trainer

from .clock import STARTED
from .material import EVEN, LONG_TAILED, MAX_LENGTH, Material, make
from .table import table

PLAIN, TRL, TRL_PACKED = "transformers.Trainer", "trl.SFTTrainer", "trl.SFTTrainer, packed"
OURS = ("kubetune", "kubetune, packed", "kubetune, checkpoints and MLflow")
CONTENDERS = {EVEN: (PLAIN, TRL, TRL_PACKED, *OURS), LONG_TAILED: (PLAIN, TRL, TRL_PACKED, "kubetune, packed")}
"""By the kind of rows; what has nothing to do with their lengths is measured once."""
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


def run(folder: Path, server: S3Server, materials: dict[str, Material], rounds: int) -> list[dict[str, Any]]:
    """One measurement per kind of rows and contender: medians over the rounds, and all rounds below ``rounds``."""
    contests = {kind: Contest(folder / f"{kind}-runs", server, material) for kind, material in materials.items()}
    seen: dict[str, dict[str, list[dict[str, Any]]]] = {kind: {} for kind in contests}
    for number in range(rounds):
        for kind, contest in contests.items():
            for name in CONTENDERS[kind]:
                measured = contest.measure(name, number)
                seen[kind].setdefault(name, []).append(measured)
                said = f"round {number + 1}, {kind} rows, {name}: {measured['tokensPerSecond']:.0f} useful tokens/s"
                print(said, file=sys.stderr, flush=True)
    return [row for kind, found in seen.items() for row in _medians(kind, found)]


def _medians(kind: str, seen: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for name, rounds in seen.items():
        members = {key: _median(value[key] for value in rounds) for key in rounds[0]}
        ratios = {
            "ofTrl": statistics.median(_ratios(rounds, seen[TRL], "tokensPerSecond")),
            "ofTrlByCpu": statistics.median(_ratios(rounds, seen[TRL], "tokensPerCpuSecond")),
            "ofPlain": statistics.median(_ratios(rounds, seen[PLAIN], "tokensPerSecond")),
        }
        yield {"rows": kind, "contender": name, **members, **ratios, "rounds": rounds}


def _ratios(mine: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> Iterator[float]:
    return (one[key] / other[key] for one, other in zip(mine, theirs, strict=True))


def _median(values: Iterator[Any]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


class Contest:
    """Runs contenders, each in processes and a folder of its own."""

    def __init__(self, folder: Path, server: S3Server, material: Material) -> None:
        self._folder, self._server, self._material = folder, server, material
        rows = self._prepared("prepared", HYPER).work / "inputs" / "train.jsonl"
        encoded = Encoder(AutoTokenizer.from_pretrained(material.model), MAX_LENGTH).encode(load_rows(rows), "training")
        self._plan = {
            "model": str(material.model),
            "rows": str(material.rows),
            "prepared": str(rows),
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
            "usefulTokens": sum(map(len, encoded.input_ids)),
        }
        (folder / "plan.json").write_text(json.dumps(self._plan))

    def measure(self, name: str, number: int) -> dict[str, Any]:
        """One training."""
        environment, prepare_seconds = self._environment(), None
        if name in OURS:
            work = f"{OURS.index(name)}-{number}"
            started = time.monotonic()
            pod = self._prepared(work, *self._settings(name, work))
            prepare_seconds = time.monotonic() - started
            environment = pod.prepared()
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

    def _settings(self, name: str, work: str) -> tuple[Hyperparameters, Tracking | None]:
        if name == "kubetune, packed":
            return dataclasses.replace(HYPER, packing=True), None
        if name == "kubetune, checkpoints and MLflow":
            steps = len(self._material.rows.read_text().splitlines()) // HYPER.per_device_train_batch_size
            uri = f"file://{self._folder / work}-mlruns"
            return dataclasses.replace(HYPER, save_steps=steps // SAVES), Tracking(uri, "bench")
        return HYPER, None

    def _prepared(self, name: str, hyper: Hyperparameters, tracking: Tracking | None = None) -> Trainer:
        """A job of ours after its init step."""
        uid = f"{self._folder.name}-{name}"
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
        pod = Trainer(config, self._folder / name, self._environment())
        if pod.run("prepare"):
            raise RuntimeError(f"prepare failed:\n{pod.log}")
        return pod

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
