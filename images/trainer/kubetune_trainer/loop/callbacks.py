"""Our part in transformers' training loop. Imports torch."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kubetune_contract import Hyperparameters
from kubetune_trainer.model.loading import all_finite
from kubetune_trainer.processes import ranks
from kubetune_trainer.recovery.exhaustion import peak_vram
from kubetune_trainer.reporting.report import Reporter
from kubetune_trainer.tracking.tracker import Tracker

from .early import should_stop, validation_losses
from .guard import DivergenceGuard

log = logging.getLogger(__name__)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, tracks what is logged, and stops a training that has diverged."""

    def __init__(self, reporter: Reporter, tracker: Tracker, guard: DivergenceGuard) -> None:
        self._reporter, self._tracker, self._guard = reporter, tracker, guard

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._reporter.begin(state.global_step, state.max_steps)
        self._guard.replay(state.log_history)
        # A pod that was killed had not sent its last points; the tracker leaves out those it did send.
        for entry in state.log_history:
            self._tracker.metrics({name: value for name, value in entry.items() if name != "step"}, entry["step"])

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
        for trouble in self._tracker.troubles:
            self._reporter.suggest(trouble)
        self._tracker.metrics(values, state.global_step)
        diverged = self._guard.watch(state.global_step, values)
        if self._guard.doubtful and not diverged and not all_finite(kwargs["model"]):
            self._guard.lost(state.global_step)
            diverged = True
        if diverged:
            control.should_training_stop = True
        if self._guard.doubtful:
            control.should_save = False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._reporter.paused()


class Verdict(TrainerCallback):  # type: ignore[misc]
    """Has the last word, so it comes last: nothing doubtful is saved, and a run that no longer improves stops."""

    def __init__(self, trainer: Any, guard: DivergenceGuard, hyper: Hyperparameters) -> None:
        self._trainer, self._guard, self._hyper = trainer, guard, hyper
        self.stopped_early = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_save:
            (doubtful,) = ranks.agreed(self._doubtful(state.global_step))
            control.should_save = not doubtful

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not math.isfinite((metrics or {}).get("eval_loss", 0.0)) or self._guard.doubtful:
            control.should_save = False
        losses = validation_losses(state.log_history)
        if should_stop(losses, self._hyper.early_stopping_patience, self._hyper.early_stopping_threshold):
            log.info("stopping early: no better validation loss than %.4g", min(losses))
            self.stopped_early = control.should_training_stop = True
            # A later attempt would go on after a checkpoint of this moment; before it, it comes to the same end.
            control.should_save = False

    def _doubtful(self, step: int) -> bool:
        """Looks at the losses since the last log line, too; reading them waits for the GPU, as saving does anyway."""
        steps = step - self._trainer._globalstep_last_logged
        loss = self._trainer._tr_loss.item() / steps if steps else 0.0
        return self._guard.doubtful or self._guard.suspicious(loss)
