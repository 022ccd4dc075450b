"""What happens around the steps of transformers' training loop, in its order. Imports torch.

Only this module decides whether the loop saves or stops: ``control`` is written nowhere else.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kubetune_contract import Hyperparameters, Phase
from kubetune_trainer.checkpoints.saving import Saving
from kubetune_trainer.internals import loss_since_log
from kubetune_trainer.job import Job
from kubetune_trainer.model.loading import all_finite
from kubetune_trainer.processes import ranks
from kubetune_trainer.recovery.exhaustion import peak_vram
from kubetune_trainer.reporting.observer import Observer

from .early import should_stop, validation_losses
from .guard import DivergenceGuard

log = logging.getLogger(__name__)


class Steps(TrainerCallback):  # type: ignore[misc]
    """Reports, watches for divergence, saves, stops early."""

    def __init__(self, job: Job, trainer: Any, saving: Saving, guard: DivergenceGuard, hyper: Hyperparameters) -> None:
        """``hyper`` are the settings in effect."""
        self._job, self._trainer, self._saving = job, trainer, saving
        self._guard, self._hyper = guard, hyper
        self._observer = Observer(job.reporter, job.tracker)
        self.stopped_early = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._job.reporter.begin(state.global_step, state.max_steps)
        self._guard.replay(state.log_history)
        # A pod that was killed had not sent its last points; the tracker leaves out those it did send.
        for entry in state.log_history:
            self._job.tracker.metrics({name: value for name, value in entry.items() if name != "step"}, entry["step"])
        self._saving.begin()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._observer.step_began()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, reporter = state.global_step, self._job.reporter
        reporter.stepped(step)
        self._saving.check()
        asked, due = ranks.agreed(self._job.stop.requested, self._saving.due(step))
        if asked:
            control.should_training_stop = True
        if (asked or due) and step < state.max_steps and self._saving.can():
            self._saving.asked()
            control.should_save = True
            if asked:
                reporter.stopping(step)
        if control.should_save:
            (doubtful,) = ranks.agreed(self._is_doubtful(step))
            control.should_save = not doubtful
        # Last, so that nothing of the above is taken for waiting.
        self._observer.step_ended()
        if control.should_evaluate:
            reporter.phase(Phase.EVALUATING)
        elif control.should_save:
            reporter.phase(Phase.SAVING)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        step, values, reporter = state.global_step, logs or {}, self._job.reporter
        for name in ("loss", "eval_loss"):
            if name in values:
                # Nine digits tell any two float32 numbers apart, so that runs can be compared by their logs.
                log.info("step %d of %d: %s %.9g", step, state.max_steps, name, values[name])
        reporter.logged(values)
        reporter.memory(peak_vram(torch))
        for trouble in self._job.tracker.troubles:
            reporter.suggest(trouble)
        self._job.tracker.metrics(values, step)
        diverged = self._guard.watch(step, values)
        if self._guard.doubtful and not diverged and not all_finite(kwargs["model"]):
            self._guard.lost(step)
            diverged = True
        if diverged:
            control.should_training_stop = True
        if self._guard.doubtful:
            control.should_save = False
        self._observer.logged(step, state.max_steps, values)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        step, loss, reporter = state.global_step, (metrics or {}).get("eval_loss"), self._job.reporter
        reporter.paused()
        if loss is not None:
            if self._saving.evaluated(step, float(loss)) and step < state.max_steps:
                control.should_save = True
            self._saving.asked()
        if (loss is not None and not math.isfinite(loss)) or self._guard.doubtful:
            control.should_save = False
        losses = validation_losses(state.log_history)
        if should_stop(losses, self._hyper.early_stopping_patience, self._hyper.early_stopping_threshold):
            log.info("stopping early: no better validation loss than %.4g", min(losses))
            self.stopped_early = control.should_training_stop = True
            # A later attempt would go on after a checkpoint of this moment; before it, it comes to the same end.
            control.should_save = False
        reporter.phase(Phase.SAVING if control.should_save else Phase.TRAINING)
        self._observer.rested()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = state.global_step
        self._saving.written(Path(args.output_dir, f"checkpoint-{step}"), step)
        self._job.reporter.paused()
        self._job.reporter.phase(Phase.TRAINING)
        self._observer.rested()

    def _is_doubtful(self, step: int) -> bool:
        """Looks at the losses since the last log line, too; reading them waits for the GPU, as saving does anyway."""
        return self._guard.doubtful or self._guard.suspicious(loss_since_log(self._trainer, step))
