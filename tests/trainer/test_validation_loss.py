"""The validation loss is the mean over learned tokens, whatever the batch, the packing or the number of processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import Tokenised
from kubetune_trainer.data.tokenizer import encoder_for, load_tokenizer
from kubetune_trainer.model.build import Material, build_trainer
from kubetune_trainer.model.loading import load_model
from tests.support.points import Record
from tests.support.training import Jobs

from . import inprocess

ROWS = [Row(n, prompt=f"say {n} =", completion=" hello world" * (1 + 5 * (n % 7 == 0))) for n in range(1, 38)]
"""Many short answers and few long ones: a mean of batches' means says another number for each size of batch."""


def encoded(base: Path) -> Tokenised:
    config = inprocess.config(hyper={"max_sequence_length": 128})
    return encoder_for(load_tokenizer(base, config.base_model), config.hyperparameters).encode(ROWS, "validation")


def evaluated(base: Path, folder: Path, **hyper: Any) -> Any:
    config = inprocess.config(hyper={"max_sequence_length": 128, **hyper})
    tokenizer = load_tokenizer(base, config.base_model)
    data = encoder_for(tokenizer, config.hyperparameters).encode(ROWS, "validation")
    torch.manual_seed(3)
    model = load_model(config, base, inprocess.CPU)
    return build_trainer(config, inprocess.CPU, Material(tokenizer, model, data, data), folder)


def true_loss(base: Path, folder: Path) -> float:
    """One row after the other, without any trainer: the sum over learned tokens by their number."""
    model = evaluated(base, folder).model.eval()
    total, count, data = 0.0, 0, encoded(base)
    for ids, labels in zip(data.input_ids, data.labels, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double()
        wanted = torch.tensor(labels[1:])
        total += float(torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum"))
        count += int((wanted != -100).sum())
    return total / count


def test_it_is_the_same_for_every_batch(base: Path, tmp_path: Path, record_property: Record) -> None:
    expected = true_loss(base, tmp_path / "plain")
    found: dict[str, float] = {}
    for size in (1, 4, 8, 32):
        for packing in (False, True):
            trainer = evaluated(base, tmp_path / "t", per_device_train_batch_size=size, packing=packing)
            found[f"{size}{' packed' if packing else ''}"] = trainer.evaluate()["eval_loss"]
    for name, value in found.items():
        assert value == pytest.approx(expected, rel=2e-6), (name, found)
    old = {}
    for size in (1, 32):
        trainer = evaluated(base, tmp_path / "t", per_device_train_batch_size=size)
        trainer.per_token = False
        old[size] = trainer.evaluate()["eval_loss"]
    assert abs(old[1] - old[32]) > 1e-4, "else this data shows nothing"
    record_property(
        "point",
        f"validation loss at batch 1, 4, 8, 32, packed or not: {expected:.6f}, as one row after the other "
        f"(a mean of the batches' means: {old[1]:.4f} to {old[32]:.4f})",
    )


def mixed(count: int) -> list[dict[str, str]]:
    return [{"prompt": row.prompt or "", "completion": row.completion or ""} for row in ROWS[:count]]


def eval_losses(log: str) -> list[float]:
    return [float(value) for value in re.findall(r"step \d+ of \d+: eval_loss (\S+)", log)]


@pytest.mark.parametrize("packing", [False, True], ids=["rows", "packed"])
def test_two_processes_measure_what_one_does(jobs: Jobs, packing: bool, record_property: Record) -> None:
    """With rows that do not fill the last batches: what fills them up is not counted."""
    held_out = jobs.data(mixed(13), "held-out.jsonl")
    hyper = {"eval_steps": 1, "max_steps": 1, "learning_rate": 1e-9, "packing": packing, "logging_steps": 1}
    found = {}
    for processes, batch in ((2, 4), (2, 3), (1, 4), (1, 1)):
        job = jobs.job(
            mixed(37),
            dataset={"validation_uri": held_out},
            hyperparameters=hyper | {"per_device_train_batch_size": batch},
            **({"processes": processes} if processes > 1 else {}),
        )
        summary = job.both()
        (logged,) = eval_losses(job.log)
        assert summary["evalLoss"] == pytest.approx(logged, rel=1e-6)
        progress = json.loads((job.folder / "termination").read_text())
        card = jobs.store.read(f"{job.config.output}/adapter/README.md").decode()
        assert f"| Validation loss | {progress['evalLoss']:.4f} |" in card
        assert "Losses are means of the cross-entropy per learned token." in card
        found[processes, batch] = logged
    # bfloat16 where the CPU has it.
    assert max(found.values()) - min(found.values()) < 2e-3, found
    record_property("point", f"validation loss of 13 rows by (processes, batch): {found}")
