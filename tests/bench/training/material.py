"""The one model and the one dataset that all contenders train on; nothing is downloaded."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tests.support.s3 import S3Server
from tests.support.training import upload
from tests.trainer import tiny

BUCKETS = ("models", "data", "out")
ROWS = 512
MAX_LENGTH = 256
"""Rows are about a sixth of it: short rows are what packing is for."""


@dataclass(frozen=True)
class Material:
    """Where model and rows are, for processes that read files and for those that read the store."""

    model: Path
    rows: Path
    model_uri: str = "s3://models/bench"
    rows_uri: str = "s3://data/bench/train.jsonl"


def make(folder: Path, server: S3Server) -> Material:
    """A Llama of 3.6 million parameters and rows of 20 to 80 tokens with a fixed seed."""
    for bucket in BUCKETS:
        server.make_bucket(bucket)
    model = tiny.build(folder / "model", hidden_size=256, layers=4, head_dim=32)
    rows = folder / "train.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    upload(server, model, "s3://models/bench")
    (server.root / "data" / "bench").mkdir()
    (server.root / "data" / "bench" / "train.jsonl").write_bytes(rows.read_bytes())
    return Material(model, rows)


def _rows() -> list[dict[str, str]]:
    chance = random.Random(0)
    words = tiny.TEXT[0].split()

    def text(low: int, high: int) -> str:
        return " ".join(chance.choice(words) for _ in range(chance.randint(low, high)))

    return [{"prompt": text(10, 40) + " =", "completion": " " + text(10, 40)} for _ in range(ROWS)]
