"""A model of few weights whose steps need gigabytes, and what its process needs before the first one."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support.s3 import S3Server
from tests.support.training import SOURCES, Jobs, Trainer, upload

from . import tiny

GIB = 1 << 30
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
"""glibc reserves 64 MiB of addresses per thread otherwise, more or less of them by chance."""
TOKENS = 2048
"""Of the longest rows. In float32 a hundred megabytes and more for each of a layer's wide activations."""


def build(folder: Path) -> Path:
    """Writes the model and its tokenizer to ``folder``."""
    tiny.build(folder)
    config = LlamaConfig.from_pretrained(folder)
    config.intermediate_size, config.max_position_embeddings = 16384, TOKENS
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def text(tokens: int, seed: int = 0) -> str:
    """About ``tokens`` tokens."""
    dice = random.Random(seed)
    return " ".join(dice.choice("0123456789") for _ in range(tokens // 2))


@functools.cache
def resting_bytes() -> int:
    """Addresses a training process has mapped once its libraries are there."""
    script = "import kubetune_trainer.learn; print(open('/proc/self/status').read())"
    environment = {"PYTHONPATH": ":".join(map(str, SOURCES)), "OMP_NUM_THREADS": "1", **ENVIRONMENT}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    return status(done.stdout, "VmPeak")


def status(text: str, name: str) -> int:
    """A size in the text of /proc/PID/status, in bytes."""
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{name}:"))


def job(jobs: Jobs, data: list[dict[str, Any]], **changes: Any) -> Trainer:
    """A job on the wide model, with a limit only where ``address_space`` is set afterwards."""
    hyper = {"max_sequence_length": TOKENS, "save_minutes": 0.0, **changes.pop("hyperparameters", {})}
    made = jobs.job(data, base_model="s3://models/wide", hyperparameters=hyper, **changes)
    made.environment |= ENVIRONMENT
    return made


def stored(server: S3Server, folder: Path) -> None:
    """Puts the model into the store."""
    upload(server, build(folder), "s3://models/wide")
