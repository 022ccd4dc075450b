"""The one model and the one dataset that all contenders train on; nothing is downloaded."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.s3 import S3Server
from tests.support.training import upload
from tests.trainer import tiny

BUCKETS = ("models", "data", "out")
ROWS = 512
MAX_LENGTH = 256
"""Rows are about a sixth of it: short rows are what packing is for."""
EVEN, LONG_TAILED = "even", "long-tailed"
"""Lengths that are all alike, and lengths as instructions and chats have them: most are short, a few fill the limit."""


@dataclass(frozen=True)
class Material:
    """Where model and rows are, for processes that read files and for those that read the store."""

    model: Path
    rows: Path
    rows_uri: str
    model_uri: str = "s3://models/bench"


def make(folder: Path, server: S3Server) -> dict[str, Material]:
    """A Llama of 3.6 million parameters, and rows of either kind with a fixed seed."""
    for bucket in BUCKETS:
        server.make_bucket(bucket)
    model = tiny.build(folder / "model", hidden_size=256, layers=4, head_dim=32)
    upload(server, model, "s3://models/bench")
    made = {}
    for kind, draw in ((EVEN, _even), (LONG_TAILED, _long_tailed)):
        rows = folder / kind / "train.jsonl"
        rows.parent.mkdir()
        rows.write_text("".join(json.dumps(row) + "\n" for row in _rows(draw)))
        upload(server, rows.parent, f"s3://data/{kind}")
        made[kind] = Material(model, rows, f"s3://data/{kind}/train.jsonl")
    return made


def _even(chance: random.Random) -> int:
    """10 to 40 words."""
    return chance.randint(10, 40)


def _long_tailed(chance: random.Random) -> int:
    """Log-normal: half have at most 15 words, one in ten more than 42, and none more than fit twice into MAX_LENGTH."""
    return min(max(1, round(chance.lognormvariate(math.log(15), 0.8))), MAX_LENGTH // 2 - 8)


def _rows(draw: Callable[[random.Random], int]) -> list[dict[str, str]]:
    chance = random.Random(0)
    words = tiny.TEXT[0].split()

    def text() -> str:
        count = draw(chance)
        return " ".join(chance.choice(words) for _ in range(count))

    return [{"prompt": text() + " =", "completion": " " + text()} for _ in range(ROWS)]
