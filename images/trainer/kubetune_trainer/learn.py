"""The learning itself: rows become tokens, tokens become weights. Imports torch."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from kubetune_contract import Artifact, TrainSummary
from kubetune_contract.paths import SCHEMA
from kubetune_shared.rows import load_rows

from . import loopstate
from .advice import dora_not_servable, end_of_turn_not_learned
from .build import Material, build_trainer
from .callbacks import Watch
from .data import Encoder, Tokenised
from .device import Device, detect, threads
from .guard import DivergenceGuard, diverged
from .job import Job, Learned
from .memory import is_out_of_memory, out_of_memory, peak_vram
from .model import all_finite, load_model, stored_dtype
from .observer import Observer
from .publishing import save_artifact
from .results import artifact_uri
from .saving import Saving
from .stop import preempted
from .tokenizer import encoder_for, end_tokens, load_tokenizer
from .workspace import Inputs, train_file, validation_file, work_dir

log = logging.getLogger(__name__)


def learn(job: Job, inputs: Inputs) -> Learned:
    """Trains to the end. Raises KubeTuneError: BAD_CONFIG, BAD_DATA, OUT_OF_MEMORY, PREEMPTED or DIVERGED."""
    quiet()
    job.stop.check()
    device = detect(job.config.gpus, torch)
    torch.set_num_threads(threads())
    log.info("%s on %s in %s", job.config.method, device.name, device.precision)
    try:
        return _learn(job, inputs, device)
    except Exception as error:
        if is_out_of_memory(error, torch):
            raise out_of_memory(error, job.config, peak_vram(torch)) from error
        raise


def quiet() -> None:
    """Keeps what the libraries say to their developers out of a user's log."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    disable_progress_bars()
    disable_progress_bar()


def _learn(job: Job, inputs: Inputs, device: Device) -> Learned:
    config, path = job.config, Path(inputs.model_path)
    tokenizer = load_tokenizer(path, config.base_model)
    encoder = encoder_for(tokenizer, config.hyperparameters)
    train_data = tokenise(encoder, train_file(), "training")
    validation = tokenise(encoder, validation_file(), "validation") if inputs.validation_rows else None
    job.reporter.suggest(end_of_turn_not_learned(train_data, end_tokens(tokenizer)))
    job.reporter.suggest(dora_not_servable(config))
    job.stop.check()
    model = load_model(config, path, device)
    trainer = build_trainer(config, device, Material(tokenizer, model, train_data, validation), work_dir() / "trainer")
    job.stop.check()
    saving = Saving(job, inputs, trainer)
    try:
        train_loss = fit(job, trainer, device, saving)
        best_step, eval_loss = saving.load_best(final_loss(trainer) if validation else None)
    finally:
        saving.close()
    parts = [train_data, *([validation] if validation else [])]
    results = TrainSummary(
        schema=SCHEMA,
        artifact=Artifact(artifact_uri(config), "", "", 0),
        steps=trainer.state.global_step,
        train_rows=len(train_data),
        validation_rows=len(validation) if validation else 0,
        duration_seconds=0.0,
        train_loss=train_loss,
        eval_loss=finite(eval_loss),
        dataset_sha256=inputs.dataset_sha256,
        peak_vram_bytes=peak_vram(torch),
        dropped_rows=sum(part.dropped for part in parts),
        truncated_rows=sum(part.truncated for part in parts),
        best_step=best_step,
        tokens=loopstate.tokens(trainer),
        suggestions=job.reporter.progress.suggestions,
    )
    if encoder.template:
        # Whoever uses the model must write chats as it learned them.
        tokenizer.chat_template = encoder.template
    return Learned(results, lambda folder: save_artifact(config, trainer.model, tokenizer, stored_dtype(path), folder))


def tokenise(encoder: Encoder, path: Path, what: str) -> Tokenised:
    """The prepared rows as ids and labels; what was cut or left out is logged."""
    done = encoder.encode(load_rows(path), what)
    if done.truncated:
        log.warning("%d %s rows are longer than %d tokens and were cut", done.truncated, what, encoder.max_length)
    if done.dropped:
        log.warning("%d %s rows have nothing to learn within that length and were left out", done.dropped, what)
    if done.unmasked:
        log.warning("%d %s chats are learned as a whole: the template does not show the turns", done.unmasked, what)
    return done


def fit(job: Job, trainer: Any, device: Device, saving: Saving) -> float | None:
    """Runs the optimizer to the end and returns the mean training loss.

    Raises KubeTuneError: PREEMPTED when asked to stop before the end, DIVERGED when the numbers were lost.
    """
    hyper = job.config.hyperparameters
    guard = DivergenceGuard(device.precision)
    trainer.add_callback(Watch(job.reporter, job.tracker, guard))
    trainer.add_callback(saving)
    trainer.add_callback(Observer(job.reporter, job.tracker))
    trainer.train(resume_from_checkpoint=saving.resume_from)
    guard.check(hyper.learning_rate)
    if not all_finite(trainer.model):
        raise diverged("the trained weights hold numbers that are not finite", hyper.learning_rate)
    step, total = trainer.state.global_step, trainer.state.max_steps
    if step < total:
        saving.drain()
        raise preempted(f"after step {step} of {total}", saving.last)
    # transformers divides a resumed run's loss by the new steps only.
    return finite(trainer._total_loss_scalar / max(step, 1))


def final_loss(trainer: Any) -> float | None:
    """The last weights' validation loss; evaluated unless the loop has just done so."""
    last = next((entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry), None)
    if last and last["step"] == trainer.state.global_step:
        return finite(last["eval_loss"])
    return finite(trainer.evaluate().get("eval_loss"))


def finite(value: Any) -> float | None:
    """``value`` when it is a finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
