"""Several short rows in one sequence, without letting them see each other. Imports torch.

TRL packs, too, but lays a whole batch end to end: without flash-attention its attention then costs the square of the
batch's length (twice the time of this on a CPU, and a mask of that size on a GPU). Here a batch stays rows of packed
sequences. Positions that start again at 0 are all that keeps documents apart: transformers builds the mask from them as
long as no attention mask is passed along (measured: the difference of the logits is 6e-7).
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from trl import pack_dataset

from kubetune_trainer.internals import CountsDocuments

from .encoding import MASKED

LENGTHS = "seq_lengths"
"""TRL's column of the lengths of the documents in a sequence; its trainer keeps a column of this name."""
TOKENS = "tokens"
"""Of a batch: how many tokens of each sequence are not padding."""


def pack(dataset: Dataset, max_length: int) -> Dataset:
    """Columns ``input_ids`` and ``labels`` as sequences of at most ``max_length`` tokens, best fit first, and LENGTHS.

    No document is cut.
    """
    return pack_dataset(dataset, max_length, "bfd")


class Collator:
    """Pads packed sequences to the longest of a batch; the padding is a document of its own."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(example["input_ids"]) for example in examples)
        rows = [self._row(example, width) for example in examples]
        batch = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
        return {**batch, TOKENS: torch.tensor([len(example["input_ids"]) for example in examples])}

    def _row(self, example: dict[str, Any], width: int) -> dict[str, list[int]]:
        labels: list[int] = list(example["labels"])
        positions: list[int] = []
        for length in example[LENGTHS]:
            # Nothing in its own document comes before a first token, so nothing must be asked to predict it.
            labels[len(positions)] = MASKED
            positions += range(length)
        spare = width - len(labels)
        return {
            "input_ids": [*example["input_ids"], *[self._pad] * spare],
            "labels": [*labels, *[MASKED] * spare],
            "position_ids": [*positions, *range(spare)],
        }


class PackedSFTTrainer(CountsDocuments):
    """SFTTrainer that counts the tokens of all documents of such a batch."""

    column = TOKENS
