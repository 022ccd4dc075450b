"""Tries the longest batch before the first step, so that memory runs out now or never. Imports torch.

What a step needs at its peak is there while it is tried: gradients of the micro-batches before, and the optimizer's
state. Weights, random numbers and everything the training counts are afterwards what they were.
"""

from __future__ import annotations

import gc
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kubetune_contract import KubeTuneError, TrainConfig
from kubetune_trainer.data.packing import LENGTHS
from kubetune_trainer.internals import uncounted
from kubetune_trainer.model.device import Device
from kubetune_trainer.processes import ranks
from kubetune_trainer.processes.place import Relaunch

from .exhaustion import Shortage, exhausted, is_out_of_memory, out_of_memory, peak_vram, state_bytes
from .ladder import Action, Rung, next_rung, settings_of
from .restart import lowered
from .shortfall import Shortfall, note

LEAST = 16
"""Tokens of the shortest rows that are tried."""
PARTS = 32
"""How finely the longest length that fits is found: to a part of the longest there is."""

log = logging.getLogger(__name__)


class Probe(TrainerCallback):  # type: ignore[misc]
    """Runs once everything is set up: model, optimizer and a checkpoint to go on from."""

    def __init__(self, trainer: Any, config: TrainConfig, device: Device) -> None:
        """``config`` is the one in effect."""
        self._trainer, self._config, self._device = trainer, config, device

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raises Restart when less has to do, KubeTuneError (OUT_OF_MEMORY) when nothing does."""
        started = time.monotonic()
        trial = Trial(self._trainer, self._config.hyperparameters.optimizer)
        now = settings_of(self._config.hyperparameters)
        said = trial.longest_rows(now.per_device_train_batch_size, accumulates=now.gradient_accumulation_steps > 1)
        if said is None:
            log.info("the longest batch fits (tried in %.1f s)", time.monotonic() - started)
            return
        if not self._config.recovery.adapt_to_memory:
            raise out_of_memory(said, self._config, peak_vram(torch))
        if ranks.several():
            # The others may have had room, and wait for this one.
            note(Shortfall(said, state.global_step, self._device.kind))
            raise Relaunch
        rungs: list[tuple[Rung, str]] = []
        while said is not None:
            rung = next_rung(now, self._device.kind)
            if rung is None:
                raise self._failure(said, trial)
            rungs.append((rung, said))
            if rung.action is not Action.HALVE_BATCH:
                # The others change how model and optimizer are set up: the fresh process tries them.
                break
            now = rung.settings
            said = trial.longest_rows(now.per_device_train_batch_size, accumulates=True)
        raise lowered(rungs, time.time(), state.global_step)

    def _failure(self, said: str, trial: Trial) -> KubeTuneError:
        log.warning("nothing is left to lower; looking for the longest rows that fit")
        return exhausted(said, self._config, trial.shortage())


class Trial:
    """Steps on the training's own longest rows that leave no trace."""

    def __init__(self, trainer: Any, optimizer: str) -> None:
        self._trainer = trainer
        rows = trainer.train_dataset
        self._lengths = np.array([len(ids) for ids in rows.with_format("numpy")["input_ids"]])
        weights = [(ranks.local(p).numel(), p.element_size()) for p in trainer.model.parameters() if p.requires_grad]
        has_state = bool(trainer.optimizer and trainer.optimizer.state)
        self._state_bytes = 0 if has_state else state_bytes(optimizer, weights, trainer.args.device.type)

    def longest_rows(self, micro: int, *, accumulates: bool) -> str | None:
        """None when a micro-batch of the longest rows fits, else what the allocator said."""
        order = np.argsort(-self._lengths, kind="stable")[:micro]
        return self._tried([self._trainer.train_dataset[int(index)] for index in order], 2 if accumulates else 1)

    def shortage(self) -> Shortage:
        """Finds, one row at a time, the longest that fits, and from two that do what the longest is short of."""
        longest = int(self._lengths.max())
        row = self._trainer.train_dataset[int(self._lengths.argmax())]
        peaks: dict[int, int] = {}

        def fits(length: int) -> bool:
            reset_peak()
            fitted = self._tried([cut(row, length)], 2) is None
            if fitted:
                peaks[length] = peak()
            return fitted

        found = longest_that(fits, longest, max(LEAST, longest // PARTS))
        return Shortage(longest, found, missing_bytes(peaks, longest))

    def _tried(self, rows: list[dict[str, Any]], cycles: int) -> str | None:
        said = None
        with untouched(self._trainer):
            try:
                self._step(rows, cycles)
            except Exception as error:
                if not is_out_of_memory(error, torch):
                    raise
                said = str(error) or "the allocation failed"
        # Only here the failed attempt's tensors have no owner any more.
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return said

    def _step(self, rows: list[dict[str, Any]], cycles: int) -> None:
        trainer = self._trainer
        held = torch.empty(self._state_bytes, dtype=torch.uint8, device=trainer.args.device)
        for _ in range(cycles):
            batch = trainer.data_collator(rows)
            labels = max(1, int((batch["labels"] != -100).sum()))
            trainer.training_step(trainer.model_wrapped, batch, torch.tensor(labels, device=trainer.args.device))
        del held


@contextmanager
def untouched(trainer: Any) -> Iterator[None]:
    """Puts back what a step changes beside gradients, which are removed."""
    chance = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with uncounted(trainer):
            yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        random.setstate(chance[0])
        np.random.set_state(chance[1])
        torch.set_rng_state(chance[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def cut(row: dict[str, Any], length: int) -> dict[str, Any]:
    """``row`` with its first ``length`` tokens, all of them to be learned."""
    ids = list(row["input_ids"][:length])
    short = {"input_ids": ids, "labels": list(ids)}
    return {**short, LENGTHS: [len(ids)]} if LENGTHS in row else short


def longest_that(fits: Callable[[int], bool], most: int, grain: int) -> int | None:
    """The largest multiple of ``grain`` below ``most`` that fits, if a shorter length fits wherever a longer does."""
    low, high = 0, -(-most // grain)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle * grain):
            low = middle
        else:
            high = middle
    return low * grain or None


def missing_bytes(peaks: dict[int, int], longest: int) -> float | None:
    """By how much the peak at ``longest`` tokens exceeds what fitted last, on the line through the two longest."""
    if len(peaks) < 2:
        return None
    (short, low), (long, high) = sorted(peaks.items())[-2:]
    return max(high - low, 0) / (long - short) * (longest - long)


def reset_peak() -> None:
    """Peaks count from here."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    else:
        # proc(5): 5 resets the peak resident set size.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """Bytes of memory in use at the most since ``reset_peak``."""
    if torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
