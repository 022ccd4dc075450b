"""One job, several pods: what each logged, and whether together they are as good as one that was never disturbed."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from kubetune_contract import Lora
from kubetune_shared.artifacts import fetch
from kubetune_shared.manifest import describe
from tests.support.ports import free_port
from tests.support.training import Jobs, Trainer

WEIGHTS = ("adapter_model.safetensors", "model.safetensors")
DROPOUT = Lora(rank=4, alpha=8, dropout=0.1)
_LOSS = re.compile(r"step (\d+) of \d+: (loss|eval_loss) (\S+)$", re.MULTILINE)


def another(job: Trainer, name: str) -> Trainer:
    """Another pod of the same job on an empty disk, but for what prepare had fetched."""
    pod = dataclasses.replace(job, folder=job.folder.with_name(f"{job.folder.name}-{name}"), port=free_port())
    shutil.copytree(job.folder / "work" / "inputs", pod.folder / "work" / "inputs")
    return pod


def undisturbed(job: Trainer) -> Trainer:
    """The same training under another output, run from beginning to end in one go, without a checkpoint."""
    hyper = dataclasses.replace(job.config.hyperparameters, save_steps=None, save_minutes=0.0)
    config = dataclasses.replace(job.config, output=f"{job.config.output}-undisturbed", hyperparameters=hyper)
    pod = dataclasses.replace(job, config=config, folder=job.folder.with_name(f"{job.folder.name}-undisturbed"))
    pod.both()
    return pod


def losses(*pods: Trainer) -> dict[tuple[str, int], str]:
    """What was logged at each step; whatever pods logged at the same step must be the same."""
    seen: dict[tuple[str, int], str] = {}
    for pod in pods:
        for step, name, value in _LOSS.findall(pod.log):
            assert seen.setdefault((name, int(step)), value) == value, f"{name} of step {step}"
    return seen


def weights(jobs: Jobs, summary: dict[str, Any], folder: Path) -> str:
    """Digest of the published weights."""
    fetch(jobs.store, summary["artifact"]["uri"], folder)
    (found,) = [entry.sha256 for entry in describe(folder) if entry.path in WEIGHTS]
    return found


def wait_for(pod: Trainer, process: subprocess.Popen[bytes], text: str, seconds: float = 180) -> None:
    """Until the running pod has logged ``text``."""
    deadline = time.monotonic() + seconds
    while text not in pod.log:
        assert process.poll() is None, pod.log
        assert time.monotonic() < deadline, pod.log
        time.sleep(0.02)


def wait_for_checkpoint(pod: Trainer, process: subprocess.Popen[bytes], after: int = 0) -> dict[str, Any]:
    """Until a checkpoint of a step beyond ``after`` is in the store; returns the progress then."""
    deadline = time.monotonic() + 180
    while (seen := pod.progress()).get("lastCheckpoint", 0) <= after:
        assert process.poll() is None, pod.log
        assert time.monotonic() < deadline, pod.log
        time.sleep(0.02)
    return seen
