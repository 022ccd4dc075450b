"""Settings that follow from the number of rows, for whoever has not written them. Pure.

The rule, with what it is owed to:

- Rows per optimizer step: the most of 4, 8 and 16 that leave an epoch of STEPS_PER_EPOCH steps. A run of a dozen steps
  ends before its schedule has warmed up; from some thousand rows on, larger batches cost no steps that matter.
- Epochs: 3, more for few rows until there are STEPS steps, but at most 5, since beyond that rows are learned by heart
  rather than learned from; 2 from 10,000 rows on and 1 from 50,000, which hold their repetitions within.
- Warm-up: a tenth of a short run (below SHORT steps), of which 3 % would be a step or two.
- Log lines: about twenty of a short run at the least, so that a curve, and what watches it, has something to go by.

Learning rate, rank and length do not depend on how many rows there are, but on model, method and what the rows are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

from kubetune_contract import Hyperparameters, RowSettings

BATCHES = (16, 8, 4)
STEPS_PER_EPOCH = 32
STEPS = 100
EPOCHS, MOST_EPOCHS = 3, 5
MANY, VERY_MANY = 10_000, 50_000
SHORT = 200
LINES = 20


def by_rows(
    rows: int, hyper: Hyperparameters, unset: Collection[str], processes: int
) -> tuple[Hyperparameters, RowSettings | None]:
    """``hyper`` with the members of ``unset`` that the number of ``rows`` decides, and what was decided, if anything.

    ``rows`` are the sequences of one epoch: after packing, and without rows that teach nothing.
    """
    chosen = hyper
    if "gradient_accumulation_steps" in unset:
        chosen = dataclasses.replace(chosen, gradient_accumulation_steps=_accumulation(rows, chosen, processes))
    batch = _batch(chosen, processes)
    per_epoch = max(1, math.ceil(rows / batch))
    if "num_train_epochs" in unset and chosen.max_steps is None:
        chosen = dataclasses.replace(chosen, num_train_epochs=_epochs(rows, per_epoch))
    steps = chosen.max_steps or math.ceil(chosen.num_train_epochs * per_epoch)
    if steps < SHORT:
        for name, value in (("warmup_ratio", 0.1), ("logging_steps", min(hyper.logging_steps, max(1, steps // LINES)))):
            if name in unset:
                chosen = dataclasses.replace(chosen, **{name: value})
    decided = {
        name: getattr(chosen, name)
        for name in ("num_train_epochs", "gradient_accumulation_steps", "warmup_ratio", "logging_steps")
        if name in unset and (name != "num_train_epochs" or chosen.max_steps is None)
    }
    if not decided:
        return hyper, None
    said = f"{_counted(rows, 'row')}: {_run(chosen, per_epoch, batch)}{_whys(rows, decided, steps)}"
    return chosen, RowSettings(said, **decided)


def _batch(hyper: Hyperparameters, processes: int) -> int:
    return hyper.per_device_train_batch_size * hyper.gradient_accumulation_steps * processes


def _accumulation(rows: int, hyper: Hyperparameters, processes: int) -> int:
    wanted = next((batch for batch in BATCHES if rows >= batch * STEPS_PER_EPOCH), BATCHES[-1])
    return max(1, wanted // (hyper.per_device_train_batch_size * processes))


def _epochs(rows: int, per_epoch: int) -> float:
    if rows >= VERY_MANY:
        return 1.0
    if rows >= MANY:
        return 2.0
    return float(min(MOST_EPOCHS, max(EPOCHS, math.ceil(STEPS / per_epoch))))


def _run(hyper: Hyperparameters, per_epoch: int, batch: int) -> str:
    each = f"{_counted(batch, 'row')} each"
    if hyper.max_steps is not None:
        return f"{_counted(hyper.max_steps, 'step')}, {each}"
    return f"{_counted(hyper.num_train_epochs, 'epoch')} of {_counted(per_epoch, 'step')}, {each}"


def _whys(rows: int, decided: Mapping[str, float], steps: int) -> str:
    found = []
    if "gradient_accumulation_steps" in decided:
        few = rows < BATCHES[0] * STEPS_PER_EPOCH
        found.append("few rows per step make enough steps" if few else "as many rows per step as is usual")
    if "num_train_epochs" in decided:
        found.append(_why_epochs(rows, decided["num_train_epochs"]))
    if "warmup_ratio" in decided and steps < SHORT:
        found.append("a longer warm-up for a short run")
    return f" ({'; '.join(found)})" if found else ""


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}" if number < 1e6 else f"{number:.0f} {what}s"


def _why_epochs(rows: int, epochs: float) -> str:
    if rows >= MANY:
        return "so many rows need few passes"
    if epochs >= MOST_EPOCHS:
        return "more passes would learn the rows by heart"
    return "passes until there are about 100 steps" if epochs > EPOCHS else "three passes, as is usual"
