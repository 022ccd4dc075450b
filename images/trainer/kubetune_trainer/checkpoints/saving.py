"""Checkpoints of one training: where it goes on from, when they are saved, which is the best. Imports torch."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.artifacts import fetch
from kubetune_shared.store import is_out_of_reach
from kubetune_trainer.data.unchanged import check_same_base, check_unchanged
from kubetune_trainer.identity import settings_sha256
from kubetune_trainer.internals import load_weights, tokens
from kubetune_trainer.job import Job
from kubetune_trainer.model.loading import all_finite
from kubetune_trainer.patience import patiently
from kubetune_trainer.processes import ranks
from kubetune_trainer.publishing.results import checkpoint_folder, manifest_meta
from kubetune_trainer.workspace import Inputs, work_dir

from . import carryover, loopstate
from .cadence import Cadence
from .runstate import Best, Latest
from .shelf import Folder, Restored, Shelf, restore, stored
from .uploader import Saved, Stored, Uploader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """A validation loss and the step it belongs to."""

    step: int
    loss: float


class Saving:
    """Restores, knows when a checkpoint is due and which is the best, and hands over to the uploader."""

    def __init__(self, job: Job, inputs: Inputs, trainer: Any, before: int | None = None) -> None:
        """Fetches the checkpoint to go on from (``before`` a step, where given), and takes charge of the rest.

        Raises KubeTuneError when the store stays away.
        """
        hyper = job.config.hyperparameters
        self._job, self._trainer = job, trainer
        self._cadence = Cadence(hyper.save_steps, hyper.save_minutes, time.monotonic)
        self._keep_best = hyper.load_best_model_at_end
        self._evaluated: Evaluated | None = None
        self._local_best: tuple[Evaluated, Path] | None = None
        self._began = 0.0
        self._uploader: Uploader | None = None
        found = self._take_over(inputs, before) if trainer.is_world_process_zero() else None
        self.restored: Restored | None = ranks.from_first(found)

    @property
    def resume_from(self) -> str | None:
        """For ``Trainer.train``."""
        return str(self.restored.path) if self.restored else None

    @property
    def last(self) -> int | None:
        """Step of the newest checkpoint in the store."""
        latest = self._job.state.latest
        return latest.step if latest else None

    def drain(self) -> None:
        """Before an early end: what was saved goes into the store, unless that stays away."""
        if self._uploader and not self._uploader.drain():
            log.warning("the object store is away: the last checkpoint is lost with this pod")

    def close(self) -> None:
        """After the end: uploads stop."""
        if self._uploader:
            self._uploader.close()

    def begin(self) -> None:
        """Once the loop has been set up: takes up what it had summed up."""
        if self.restored:
            loopstate.load(self._trainer, self.restored.path)
        self._cadence.begin()

    def check(self) -> None:
        """Raises what has stopped the uploads for good."""
        if self._uploader:
            self._uploader.check()

    def due(self, step: int) -> bool:
        """Whether the time or the steps for a checkpoint have passed."""
        return self._cadence.due(step)

    def can(self) -> bool:
        """Whether checkpoints are wanted and the weights are worth one."""
        if not self._cadence.enabled:
            return False
        if not all_finite(self._trainer.model):
            log.warning("no checkpoint is saved: the weights hold numbers that are not finite")
            return False
        return True

    def asked(self) -> None:
        """The loop is about to write one."""
        self._began = time.monotonic()

    def evaluated(self, step: int, loss: float) -> bool:
        """Takes note of a validation loss; returns whether it is the best so far, of those that are kept."""
        self._evaluated = Evaluated(step, loss)
        best = self._best_loss()
        # Only the first process knows what is stored; what it decides, all must do.
        return ranks.from_first(best is None or loss < best) and self._keep_best

    def written(self, path: Path, step: int) -> None:
        """The loop has written the checkpoint ``path`` of ``step``: adds to it, and sends it on its way."""
        loopstate.save(self._trainer, path)
        if self._uploader:
            carryover.note(self._trainer, path)
        ranks.together()
        self._cadence.begin()
        if not self._uploader:
            return
        evaluated = self._evaluated if self._evaluated and self._evaluated.step == step else None
        if self._keep_best and evaluated:
            self._note_best(evaluated, path)
        seconds = time.monotonic() - self._began
        log.info("checkpoint of step %d written in %.2f s, now on its way to the store", step, seconds)
        loss = evaluated.loss if evaluated else None
        self._uploader.submit(Saved(step, path, tokens(self._trainer), loss, seconds))

    def load_best(self, eval_loss: float | None) -> tuple[int | None, float | None]:
        """Puts the best checkpoint's weights into the model where that is wanted and the last ones are not as good.

        Returns its step and validation loss; None and ``eval_loss`` (the last weights') when the last ones stay.
        """
        wanted = self._keep_best and self._uploader
        best = ranks.from_first(self._best_to_publish(eval_loss) if wanted else None)
        if best is None:
            return None, eval_loss
        evaluated, path = best
        load_weights(self._trainer, path)
        log.info("publishing the weights of step %d, the best with a validation loss of %.4g", *_pair(evaluated))
        return evaluated.step, evaluated.loss

    def _take_over(self, inputs: Inputs, before: int | None) -> Restored | None:
        job = self._job
        folder = Folder(job.store, checkpoint_folder(job.config))
        inherited = patiently(lambda: stored(folder), "looking for checkpoints", job.stop, job.reporter)
        sha, dest = settings_sha256(job.config), work_dir() / "restored"
        found = patiently(
            lambda: restore(folder, sha, dest, job.state.latest, before),
            "fetching a checkpoint",
            job.stop,
            job.reporter,
        )
        if found:
            since = f"the checkpoint of step {found.step} ({found.uri})"
            check_unchanged(job.config.dataset, inputs.dataset_sha256, found.beginning.dataset_sha256, since)
            check_same_base(job.config.base_model, inputs.base, found.beginning.base, since)
        self._remember(found)
        shelf = Shelf(job.store, job.config.hyperparameters.save_total_limit, inherited, found.step if found else -1)
        meta = manifest_meta(job.config, inputs, {})
        self._uploader = Uploader(folder, meta, job.state, shelf, self._stored)
        return found

    def _remember(self, found: Restored | None) -> None:
        """Brings the run's state in step with where it really goes on from."""
        state = self._job.state
        if found:
            log.info("going on from the checkpoint of step %d", found.step)
        known = state.latest
        if (known.uri if known else None) != (found.uri if found else None):
            patiently(
                lambda: state.rewind(Latest(found.step, found.uri) if found else None, found.tokens if found else 0),
                "going back to an earlier checkpoint",
                self._job.stop,
                self._job.reporter,
            )
        if found and state.latest:
            best = state.best
            self._job.reporter.resumed(found.step, state.latest.at, found.tokens, best.step if best else None)

    def _stored(self, done: Stored) -> None:
        best = self._job.state.best
        self._job.reporter.checkpointed(done.step, done.at, done.seconds, best.step if best else None)

    def _best_loss(self) -> float | None:
        known: Best | None = self._job.state.best
        losses = [known.eval_loss] if known else []
        if self._local_best:
            losses.append(self._local_best[0].loss)
        return min(losses, default=None)

    def _note_best(self, evaluated: Evaluated, path: Path) -> None:
        """Keeps the weights at hand; as links they cost nothing while the checkpoint is there."""
        best = self._best_loss()
        if best is not None and evaluated.loss >= best:
            return
        target = work_dir() / "best" / str(evaluated.step)
        shutil.rmtree(target.parent, ignore_errors=True)
        shutil.copytree(path, target, copy_function=os.link, ignore=shutil.ignore_patterns("optimizer*", "rng_state*"))
        self._local_best = evaluated, target

    def _best_to_publish(self, eval_loss: float | None) -> tuple[Evaluated, Path] | None:
        best = self._best_loss()
        if best is None or (eval_loss is not None and eval_loss <= best):
            return None
        if self._local_best and self._local_best[0].loss <= best:
            return self._local_best
        known = self._job.state.best
        if known is None:
            return None
        target = work_dir() / "best" / str(known.step)
        try:
            patiently(
                lambda: fetch(self._job.store, known.uri, target),
                "fetching the best checkpoint",
                self._job.stop,
                self._job.reporter,
            )
        except KubeTuneError as error:
            if is_out_of_reach(error) or error.code is ExitCode.PREEMPTED:
                raise
            log.warning(
                "the best checkpoint, of step %d, is damaged (%s); the last weights are published",
                known.step,
                error.message,
            )
            return None
        return Evaluated(known.step, known.eval_loss), target


def _pair(evaluated: Evaluated) -> tuple[int, float]:
    return evaluated.step, evaluated.loss
