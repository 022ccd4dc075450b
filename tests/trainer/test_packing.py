"""Packed rows learn what they would learn alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from kubetune_trainer.data.encoding import MASKED
from kubetune_trainer.data.packing import LENGTHS, Collator, pack

LENGTH = 24
PAD = 1


@pytest.fixture(scope="module")
def documents() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(5, 300, (n,), generator=generator).tolist() for n in (3, 24, 7, 11, 5, 2, 16, 9, 9)]
    labels = [[MASKED] * (len(row) // 2) + row[len(row) // 2 :] for row in ids]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def test_every_document_is_in_one_sequence_whole(documents: Dataset) -> None:
    packed = pack(documents, LENGTH)
    found = []
    for row in packed:
        assert len(row["input_ids"]) == sum(row[LENGTHS]) <= LENGTH
        start = 0
        for length in row[LENGTHS]:
            found.append(tuple(row["input_ids"][start : start + length]))
            start += length
    assert sorted(found) == sorted(map(tuple, documents["input_ids"]))
    assert len(packed) < len(documents)


def test_logits_and_loss_are_those_of_documents_alone(base: Path, documents: Dataset) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    packed = list(pack(documents, LENGTH))
    batch = Collator(PAD)(packed)
    assert "attention_mask" not in batch
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        losses = torch.tensor(0.0)
        for row, sequence in enumerate(packed):
            start = 0
            for length in sequence[LENGTHS]:
                part = slice(start, start + length)
                ids = batch["input_ids"][row : row + 1, part]
                alone = model(input_ids=ids, use_cache=False).logits[0]
                assert torch.allclose(logits[row, part], alone, atol=2e-5)
                labels = torch.tensor(sequence["labels"][part])[1:]
                losses += torch.nn.functional.cross_entropy(alone[:-1], labels, ignore_index=MASKED, reduction="sum")
                start += length
    shifted = batch["labels"][:, 1:].reshape(-1)
    together = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(len(shifted), -1), shifted, ignore_index=MASKED, reduction="sum"
    )
    assert together == pytest.approx(losses.item(), rel=1e-5)
