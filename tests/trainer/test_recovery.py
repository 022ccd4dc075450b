"""What a recovery must not change: the probe leaves no trace, and a rung keeps data, schedule and direction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from kubetune_trainer.checkpoints.carryover import carry_over, note
from kubetune_trainer.recovery.probe import Probe
from tests.support.points import Record

from . import loop

TEXTS = [f"the fox says {n} " * (1 + n % 5) for n in range(50)]


class Seen(TrainerCallback):  # type: ignore[misc]
    """Notes a checkpoint's settings, as saving does."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        note(self.trainer, Path(args.output_dir, f"checkpoint-{state.global_step}"))


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(trainer: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]


def run(
    base: Path, folder: Path, probed: bool = False, resume: Path | None = None, **hyper: Any
) -> tuple[Any, list[Any]]:
    """A training and its rows by optimizer step."""
    config = loop.config(**hyper)
    trainer = loop.trainer(config, base, folder, TEXTS)
    trainer.add_callback(Seen(trainer))
    if probed:
        trainer.add_callback(Probe(trainer, config, loop.CPU))
    order: dict[int, list[list[int]]] = {}
    step = trainer.get_batch_samples

    def batches(*args: Any) -> Any:
        found = step(*args)
        order[trainer.state.global_step] = [
            ids[mask.bool()].tolist()
            for batch in found[0]
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        return found

    trainer.get_batch_samples = batches
    if resume:
        carry_over(trainer, resume)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer, [order[number] for number in sorted(order)]


@pytest.mark.parametrize(
    "hyper",
    [{}, {"gradient_checkpointing": True}, {"neftune_noise_alpha": 5.0}, {"gradient_accumulation_steps": 1}],
    ids=["plain", "checkpointing", "noise", "no accumulation"],
)
def test_the_probe_leaves_no_trace(base: Path, tmp_path: Path, hyper: dict[str, Any], record_property: Record) -> None:
    plain, rows = run(base, tmp_path / "a", **hyper)
    probed, same = run(base, tmp_path / "b", probed=True, **hyper)
    assert rows == same
    for name in ("loss", "grad_norm", "num_tokens", "mean_token_accuracy", "learning_rate"):
        assert logged(plain, name) == logged(probed, name), name
    assert len(logged(plain, "loss")) == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(probed), strict=True))
    record_property("point", "with and without the probe: rows, losses and weights bitwise equal")


def test_a_smaller_micro_batch_keeps_the_rows_of_every_step(
    base: Path, tmp_path: Path, record_property: Record
) -> None:
    """50 rows: steps 6 and 12 end an epoch with a batch that is not full."""
    _, whole = run(base, tmp_path / "a")
    trainer, resumed = run(
        base,
        tmp_path / "b",
        resume=tmp_path / "a" / "checkpoint-5",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
    )
    assert resumed == whole[5:]
    assert len(resumed) == 7
    assert logged(trainer, "learning_rate")[5:] == logged(run(base, tmp_path / "c")[0], "learning_rate")[5:]
    record_property("point", "4 x 2 resumed as 1 x 8: the same rows in every step, over two epochs")


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "adamw_torch"])
def test_what_a_checkpoint_is_made_to_fit(base: Path, tmp_path: Path, optimizer: str) -> None:
    """Another optimizer and half the learning rate: the schedule goes on where it was, at half its height."""
    whole, _ = run(base, tmp_path / "a", save_steps=4)
    copy = tmp_path / "copy" / "checkpoint-4"
    shutil.copytree(tmp_path / "a" / "checkpoint-4", copy)
    resumed, _ = run(base, tmp_path / "b", resume=copy, optimizer=optimizer, learning_rate=5e-3)
    rates = logged(resumed, "learning_rate")
    assert rates[4:] == pytest.approx([rate / 2 for rate in logged(whole, "learning_rate")[4:]])
    state = list(resumed.optimizer.state.values())
    assert ("state1" in state[0]) == (optimizer == "adamw_8bit")
    assert state[0]["step"] == (8 if optimizer == "adamw_8bit" else 12)
    assert logged(resumed, "loss")[-1] < logged(resumed, "loss")[0]


def test_a_checkpoint_that_fits_is_left_alone(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "a")
    path = tmp_path / "a" / "checkpoint-5"
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    carry_over(loop.trainer(loop.config(), base, tmp_path / "b", TEXTS), path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
