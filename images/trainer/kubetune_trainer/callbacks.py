"""Our part in transformers' training loop. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .checkpoints import Uploader
from .guard import DivergenceGuard
from .memory import peak_vram
from .report import Reporter
from .stop import StopRequest
from .tracking import Tracker


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, tracks what is logged, and stops a training that has diverged or was asked to stop."""

    def __init__(self, reporter: Reporter, tracker: Tracker, guard: DivergenceGuard, stop: StopRequest) -> None:
        self._reporter, self._tracker, self._guard, self._stop = reporter, tracker, guard, stop

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._reporter.begin(state.global_step, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._reporter.stepped(state.global_step)
        if self._stop.requested:
            control.should_training_stop = True
            control.should_save = control.should_save or args.save_strategy == "steps"

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = logs or {}
        self._reporter.logged(values)
        self._reporter.memory(peak_vram(torch))
        self._tracker.metrics(values, state.global_step)
        if self._guard.watch(state.global_step, values):
            control.should_training_stop = True
            control.should_save = False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._reporter.paused()


class SaveToStore(TrainerCallback):  # type: ignore[misc]
    """Hands every checkpoint that was written to the uploader."""

    def __init__(self, uploader: Uploader, reporter: Reporter) -> None:
        self._uploader, self._reporter = uploader, reporter

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._uploader.submit(state.global_step, Path(args.output_dir, f"checkpoint-{state.global_step}"))
        self._reporter.paused()
