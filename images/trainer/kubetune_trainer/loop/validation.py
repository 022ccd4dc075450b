"""The validation loss: the mean cross-entropy per learned token, whatever the batch. Imports torch.

transformers' own is a mean of the batches' means, in which a token of a batch with few of them counts for more: for
rows of mixed lengths it changes with the batch size, and so with the rung of the memory ladder.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import SFTTrainer

from kubetune_trainer.data.encoding import MASKED
from kubetune_trainer.data.packing import PackedSFTTrainer


class PerToken:
    """For a ``transformers.Trainer``; comes before it among the bases."""

    per_token = True
    """False: by batches, as a run was begun by a release that knew nothing else, so that its losses stay comparable."""

    args: Any
    accelerator: Any
    _sums: torch.Tensor
    """Cross-entropy and number of the learned tokens so far, of this process, in float64."""

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' own, with ``eval_loss`` per token over all processes."""
        self._sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        output = super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]
        prefix = kwargs.get("metric_key_prefix", "eval")
        loss, tokens = self.accelerator.reduce(self._sums, reduction="sum").tolist()
        if self.per_token and tokens:
            output.metrics[f"{prefix}_loss"] = loss / tokens
        return output

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """transformers' own, which gives one batch's mean; rows that only fill up the last batch teach nothing."""
        labels = _without_filling(inputs["labels"], self._rows_left())
        result = super().prediction_step(model, {**inputs, "labels": labels}, *args, **kwargs)  # type: ignore[misc]
        # A first token is never predicted.
        tokens = (labels[:, 1:] != MASKED).sum()
        self._sums += torch.stack([result[0].detach().double() * tokens, tokens.double()])
        return result

    def _rows_left(self) -> int | None:
        """Rows of this process's batch that are not there twice; None for all. Several processes get as many batches
        each, and accelerate takes the first rows again for what is missing in the last ones."""
        state = self.accelerator.gradient_state
        if not self.per_token or not state.end_of_dataloader or state.remainder <= 0:
            return None
        before = int(self.accelerator.process_index * self.args.eval_batch_size)
        return max(0, int(state.remainder) - before)


def _without_filling(labels: torch.Tensor, rows: int | None) -> torch.Tensor:
    if rows is None or rows >= len(labels):
        return labels
    labels = labels.clone()
    labels[rows:] = MASKED
    return labels


class PlainTrainer(PerToken, SFTTrainer):  # type: ignore[misc]
    """One row after the other."""


class PackedTrainer(PerToken, PackedSFTTrainer):
    """Several rows in one sequence."""
