"""The part of the training loop's state that transformers leaves out of its checkpoints.

Between two log lines it sums up losses and TRL's metrics; a checkpoint in between would lose the sums, and the first
line after a resume would differ from that of an uninterrupted run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save(trainer: Any, folder: Path) -> None:
    """Writes this process's sums into the checkpoint ``folder``."""
    data = {
        "loss": trainer._tr_loss.item(),
        "loggedLoss": trainer._total_loss_scalar,
        "loggedStep": trainer._globalstep_last_logged,
        "tokens": tokens(trainer),
        "metrics": {name: list(values) for name, values in trainer._metrics["train"].items()},
    }
    _file(trainer, folder).write_text(json.dumps(data), encoding="utf-8")


def load(trainer: Any, folder: Path) -> None:
    """Takes them up again; called once the loop has been set up, before its first step."""
    path = _file(trainer, folder)
    if not path.is_file():
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    trainer._tr_loss.fill_(data["loss"])
    trainer._total_loss_scalar = data["loggedLoss"]
    trainer._globalstep_last_logged = data["loggedStep"]
    trainer._total_train_tokens = data["tokens"]
    for name, values in data["metrics"].items():
        trainer._metrics["train"][name].extend(values)


def tokens(trainer: Any) -> int:
    """Tokens the run has learned from so far, padding left out."""
    return int(trainer._total_train_tokens)


def _file(trainer: Any, folder: Path) -> Path:
    return folder / f"loop-{trainer.args.process_index}.json"
