"""Makes a checkpoint fit the settings the run goes on with, where a recovery changed them. Imports torch.

transformers takes learning rates from the optimizer's and the scheduler's saved state, whatever its arguments say, and
cannot load the state of another optimizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

FILE = "settings.json"
_OPTIMIZER, _SHARDED_OPTIMIZER, _SCHEDULER = "optimizer.pt", "optimizer.bin", "scheduler.pt"


def note(trainer: Any, folder: Path) -> None:
    """Writes into the checkpoint ``folder`` what its optimizer was made with."""
    (folder / FILE).write_text(json.dumps(_made_with(trainer)), encoding="utf-8")


def carry_over(trainer: Any, folder: Path) -> None:
    """Rewrites the checkpoint's optimizer and scheduler for ``trainer``'s settings, unless those are its own.

    Another learning rate scales every rate in it; another optimizer begins with empty state at the same point of the
    schedule.
    """
    path = folder / FILE
    if not path.is_file():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), _made_with(trainer)
    if before == now:
        return
    ratio = now["learningRate"] / before["learningRate"]
    scheduler = torch.load(folder / _SCHEDULER, weights_only=True)
    scheduler["base_lrs"] = [rate * ratio for rate in scheduler["base_lrs"]]
    scheduler["_last_lr"] = [rate * ratio for rate in scheduler["_last_lr"]]
    stored = folder / (_SHARDED_OPTIMIZER if trainer.is_fsdp_enabled else _OPTIMIZER)
    if before["optimizer"] == now["optimizer"]:
        optimizer = torch.load(stored, weights_only=True, map_location="cpu")
    else:
        optimizer = _fresh_state(trainer)
    rates = zip(optimizer["param_groups"], scheduler["_last_lr"], scheduler["base_lrs"], strict=True)
    for group, rate, first in rates:
        group["lr"], group["initial_lr"] = rate, first
    torch.save(scheduler, folder / _SCHEDULER)
    torch.save(optimizer, stored)
    note(trainer, folder)


def _made_with(trainer: Any) -> dict[str, Any]:
    return {"optimizer": str(trainer.args.optim.value), "learningRate": trainer.args.learning_rate}


def _fresh_state(trainer: Any) -> dict[str, Any]:
    if trainer.optimizer is not None:
        return dict(trainer.optimizer.state_dict())
    state = trainer.create_optimizer().state_dict()
    # Made only for its form; the training loop makes its own.
    trainer.optimizer = None
    return dict(state)
