"""Greedy answers, batch by batch. Imports torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kubetune_contract import Generation

from .batching import Batch, batches
from .kept import Answer, Kept
from .models import context_length, out_of_memory, release
from .prompts import cut

log = logging.getLogger(__name__)


class Generator:
    """Answers of one model. ``told`` hears how many prompts each batch has done."""

    def __init__(self, model: Any, tokenizer: Any, settings: Generation, told: Callable[[int], None]) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._settings, self._told = settings, told

    def answers(self, prompts: Sequence[list[int]], kept: Kept) -> list[Answer | None]:
        """One answer for each prompt; None where a prompt is empty or fills the model's context.

        A batch that ``kept`` has all answers of is not run; every other one is, as a whole, so that answers are those
        of a run that nothing has disturbed.

        A batch that does not fit into memory is halved, and so are the ones after it; only one prompt that does not
        fit alone raises KubeTuneError (OUT_OF_MEMORY).
        """
        found: list[Answer | None] = [None] * len(prompts)
        lengths = [len(prompt) for prompt in prompts]
        queue = batches(lengths, self._settings.batch_size, self._settings.max_new_tokens, context_length(self._model))
        left, done = _left(queue, kept, found), sum(answer is not None for answer in found)
        queue, largest = left, self._settings.batch_size
        self._told(done)
        while queue:
            batch = queue.pop(0)
            if len(batch.members) > largest:
                queue[:0] = _parts(batch, largest)
                continue
            started = time.monotonic()
            try:
                answers = self._run([prompts[i] for i in batch.members], batch.room)
            except torch.OutOfMemoryError as error:
                release()
                largest = len(batch.members) // 2
                if not largest:
                    raise out_of_memory(
                        f"generating after a prompt of {lengths[batch.members[0]]} tokens", error
                    ) from error
                log.warning("out of memory with %d prompts at a time, going on with %d", len(batch.members), largest)
                queue.insert(0, batch)
                continue
            made = dict(zip(batch.members, answers, strict=True))
            kept.add(made, time.monotonic() - started)
            for index, answer in made.items():
                found[index] = answer
            done += len(batch.members)
            self._told(done)
        self._told(len(prompts))
        return found

    def _run(self, prompts: list[list[int]], room: int) -> list[Answer]:
        padded = self._tokenizer.pad({"input_ids": prompts}, padding=True, return_tensors="pt")
        padded = {name: tensor.to(self._model.device) for name, tensor in padded.items()}
        stops = list(self._settings.stop)
        extra = {"stop_strings": stops, "tokenizer": self._tokenizer} if stops else {}
        with torch.inference_mode():
            output = self._model.generate(**padded, max_new_tokens=room, **extra)
        start = padded["input_ids"].shape[1]
        ends = set(self._model.generation_config.eos_token_id or ())
        return [self._answer(row, room, ends) for row in output[:, start:].tolist()]

    def _answer(self, ids: list[int], room: int, ends: set[int]) -> Answer:
        end = next((at for at, token in enumerate(ids) if token in ends), None)
        ids = ids[:end]
        raw = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = cut(raw, self._settings.stop)
        # Without an end token and a stop string, only the limit of length can have ended it.
        unfinished = end is None and text == raw and len(ids) >= room
        # A row that ended at a stop string before its batch did is filled up with padding.
        while ids and ids[-1] == self._tokenizer.pad_token_id:
            ids.pop()
        return Answer(text, len(ids), unfinished)


def _left(queue: Sequence[Batch], kept: Kept, found: list[Answer | None]) -> list[Batch]:
    """The batches still to run; the answers of the others are put into ``found``."""
    left = []
    for batch in queue:
        if not all(index in kept.answers for index in batch.members):
            left.append(batch)
            continue
        for index in batch.members:
            found[index] = kept.answers[index]
    return left


def _parts(batch: Batch, size: int) -> list[Batch]:
    return [Batch(batch.members[at : at + size], batch.room) for at in range(0, len(batch.members), size)]
