"""Our part in transformers' training loop. Imports torch."""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .guard import DivergenceGuard
from .memory import peak_vram
from .report import Reporter
from .tracking import Tracker

log = logging.getLogger(__name__)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, tracks what is logged, and stops a training that has diverged."""

    def __init__(self, reporter: Reporter, tracker: Tracker, guard: DivergenceGuard) -> None:
        self._reporter, self._tracker, self._guard = reporter, tracker, guard

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._reporter.begin(state.global_step, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._reporter.stepped(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = logs or {}
        for name in ("loss", "eval_loss"):
            if name in values:
                # Nine digits tell any two float32 numbers apart, so that runs can be compared by their logs.
                log.info("step %d of %d: %s %.9g", state.global_step, state.max_steps, name, values[name])
        self._reporter.logged(values)
        self._reporter.memory(peak_vram(torch))
        self._tracker.metrics(values, state.global_step)
        if self._guard.watch(state.global_step, values):
            control.should_training_stop = True
            control.should_save = False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._reporter.paused()
