"""The part of the training loop's state that transformers leaves out of its checkpoints.

Between two log lines it sums up losses and TRL's metrics; a checkpoint in between would lose the sums, and the first
line after a resume would differ from that of an uninterrupted run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubetune_trainer.internals import Sums, set_sums, sums


def save(trainer: Any, folder: Path) -> None:
    """Writes this process's sums into the checkpoint ``folder``."""
    now = sums(trainer)
    data = {
        "loss": now.loss,
        "loggedLoss": now.logged_loss,
        "loggedStep": now.logged_step,
        "tokens": int(now.tokens),
        "metrics": now.metrics,
    }
    _file(trainer, folder).write_text(json.dumps(data), encoding="utf-8")


def load(trainer: Any, folder: Path) -> None:
    """Takes them up again; called once the loop has been set up, before its first step."""
    path = _file(trainer, folder)
    if not path.is_file():
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    before = Sums(data["loss"], data["loggedLoss"], data["loggedStep"], data["tokens"], data["metrics"])
    set_sums(trainer, before)


def _file(trainer: Any, folder: Path) -> Path:
    return folder / f"loop-{trainer.args.process_index}.json"
