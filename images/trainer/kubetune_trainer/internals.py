"""Everything that we touch of transformers, TRL and accelerate beside what they promise: the one module that an upgrade
of them has to read. Imports torch.

``tests/unit/trainer/test_internals.py`` fails for another module that touches a private member of theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType
from trl import SFTTrainer


@dataclass
class Sums:
    """What the training loop adds up, and leaves out of its checkpoints."""

    loss: float
    """Of the steps since the last log line."""
    logged_loss: float
    """Of all steps before it."""
    logged_step: int
    tokens: float
    """Learned from so far, padding left out."""
    metrics: dict[str, list[float]]
    """TRL's, since the last log line."""


def sums(trainer: Any) -> Sums:
    """This process's; reading them waits for the GPU."""
    return Sums(
        loss=trainer._tr_loss.item(),
        logged_loss=trainer._total_loss_scalar,
        logged_step=trainer._globalstep_last_logged,
        tokens=trainer._total_train_tokens,
        metrics={name: list(values) for name, values in trainer._metrics["train"].items()},
    )


def set_sums(trainer: Any, before: Sums) -> None:
    """Goes on from them; the loop must have been set up, and not have made a step."""
    trainer._tr_loss.fill_(before.loss)
    trainer._total_loss_scalar = before.logged_loss
    trainer._globalstep_last_logged = before.logged_step
    trainer._total_train_tokens = before.tokens
    for name, values in before.metrics.items():
        trainer._metrics["train"][name].extend(values)


def tokens(trainer: Any) -> int:
    """Tokens the run has learned from so far, padding left out."""
    return int(trainer._total_train_tokens)


def loss_since_log(trainer: Any, step: int) -> float:
    """Mean training loss of the steps since the last log line, 0 when there is none; waits for the GPU."""
    steps = step - trainer._globalstep_last_logged
    return float(trainer._tr_loss.item() / steps) if steps else 0.0


def mean_loss(trainer: Any) -> float:
    """Mean training loss of the whole run, at its end. transformers divides a resumed run's by the new steps only."""
    return float(trainer._total_loss_scalar / max(trainer.state.global_step, 1))


def load_weights(trainer: Any, folder: Path) -> None:
    """Puts a checkpoint's weights into the model."""
    trainer._load_from_checkpoint(str(folder))


@contextmanager
def uncounted(trainer: Any) -> Iterator[None]:
    """What a training step counts is afterwards what it was; within, a step is one of its accumulation's."""
    metrics, counted = copy.deepcopy(trainer._metrics), trainer._total_train_tokens
    steps = getattr(trainer, "current_gradient_accumulation_steps", None)
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    try:
        yield
    finally:
        trainer._metrics, trainer._total_train_tokens = metrics, counted
        trainer.current_gradient_accumulation_steps = steps


class CountsDocuments(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that takes the tokens of a batch from its column ``column``; by position_ids it would count one row's
    of a packed batch."""

    column: str
    _total_train_tokens: float

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's own."""
        found, before = inputs.pop(self.column), self._total_train_tokens
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if model.training:
            self._total_train_tokens = before + self.accelerator.gather_for_metrics(found.sum()).sum().item()
        return result


def shard_on_cpu() -> None:
    """accelerate 1.15 shards on GPUs and their like only and, on a CPU, goes on with whole copies without a word, while
    its code for it, and torch's, runs there as well."""
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
