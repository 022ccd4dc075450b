"""The learning itself: rows become tokens, tokens become weights. Imports torch."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from kubetune_contract import Artifact, KubeTuneError, Phase, TrainConfig, TrainSummary
from kubetune_contract.paths import SCHEMA
from kubetune_shared.intake.base import check_class, check_fits
from kubetune_shared.models import model_config, safetensors_header, weight_files
from kubetune_shared.rows import load_rows
from kubetune_trainer.checkpoints.carryover import carry_over
from kubetune_trainer.checkpoints.saving import Saving
from kubetune_trainer.data.encoding import Encoder, Tokenised
from kubetune_trainer.data.isolation import not_packed, unpacked_where_rows_would_leak
from kubetune_trainer.data.tokenizer import encoder_for, end_tokens, load_tokenizer, use_template
from kubetune_trainer.internals import mean_loss, tokens
from kubetune_trainer.loop.guard import DivergenceGuard, remedy
from kubetune_trainer.loop.steps import Steps
from kubetune_trainer.model.adapter import check_mergeable
from kubetune_trainer.model.build import Material, build_trainer
from kubetune_trainer.model.device import Device, as_begun, detect, threads
from kubetune_trainer.model.loading import all_finite, load_model, stored_dtype
from kubetune_trainer.model.sharding import whole_model
from kubetune_trainer.patience import patiently
from kubetune_trainer.preflight.profile import plan
from kubetune_trainer.prepare import use_of
from kubetune_trainer.processes.place import Place, Relaunch, processes
from kubetune_trainer.processes.stop import preempted
from kubetune_trainer.publishing.publish import save_artifact
from kubetune_trainer.publishing.results import artifact_uri
from kubetune_trainer.recovery.exhaustion import exhausted, is_out_of_memory, out_of_memory, peak_vram
from kubetune_trainer.recovery.ladder import next_rung, settings_of
from kubetune_trainer.recovery.probe import Probe
from kubetune_trainer.recovery.restart import Restart, effective_config, lowered, rolled_back
from kubetune_trainer.recovery.shortfall import Shortfall, note
from kubetune_trainer.reporting.advice import (
    adapter_not_servable,
    dora_not_servable,
    end_of_turn_not_learned,
    precision_changed,
)
from kubetune_trainer.reporting.signs import loss_rose

from .job import Job, Learned
from .processes import ranks
from .workspace import Inputs, train_file, validation_file, work_dir

log = logging.getLogger(__name__)


def learn(job: Job, inputs: Inputs) -> Learned:
    """Trains to the end.

    Raises Restart when the run shall go on with other settings, KubeTuneError: BAD_CONFIG, BAD_DATA, OUT_OF_MEMORY,
    PREEMPTED or DIVERGED.
    """
    quiet()
    job.stop.check()
    device = detect(job.config.gpus, torch, Place.here().rank)
    torch.set_num_threads(threads())
    ranks.join(device.kind)
    job.state.follow(ranks.from_first(job.state.document))
    device = in_one_precision(job, device)
    log.info("%s on %s in %s", job.config.method, device.name, device.precision)
    try:
        return _learn(job, inputs, device)
    except Exception as error:
        if is_out_of_memory(error, torch):
            raise short_of_memory(job, device, str(error)) from error
        raise


def in_one_precision(job: Job, device: Device) -> Device:
    """``device`` in the run's precision, which is noted in the run's state; a change that must be is told."""
    state = job.state
    before, device = state.precision, as_begun(device, state.precision, has_checkpoint=state.latest is not None)
    if Place.here().first:
        job.reporter.suggest(precision_changed(before, device.precision))
        job.tracker.tags({"kubetune.precision": device.precision})
        patiently(lambda: state.computes_in(device.precision), "noting the precision", job.stop, job.reporter)
    return device


def short_of_memory(job: Job, device: Device, said: str) -> Restart | KubeTuneError:
    """What follows when memory ran out in the middle of a run: the next rung of the ladder, or the end.

    Raises Relaunch where other processes have to take that rung, too.
    """
    config, step = effective_config(job.config, job.state.recovery), job.reporter.progress.step
    if not job.reporter.begun or not config.recovery.adapt_to_memory:
        return out_of_memory(said, config, peak_vram(torch))
    if ranks.several():
        note(Shortfall(said, step, device.kind))
        raise Relaunch
    rung = next_rung(settings_of(config.hyperparameters), device.kind)
    if rung is None:
        return exhausted(said, config, None)
    return lowered([(rung, said)], time.time(), step)


def quiet() -> None:
    """Keeps what the libraries say to their developers out of a user's log."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    disable_progress_bars()
    disable_progress_bar()


def _learn(job: Job, inputs: Inputs, device: Device) -> Learned:
    config, path = effective_config(job.config, job.state.recovery), Path(inputs.model_path)
    base = model_config(path, config.base_model)
    job.reporter.suggest(not_packed(config, base))
    config = unpacked_where_rows_would_leak(config, base)
    job.reporter.phase(Phase.DATA)
    tokenizer = load_tokenizer(path, config.base_model)
    encoder = encoder_for(tokenizer, config.hyperparameters)
    train_data = tokenise(encoder, train_file(), "training")
    validation = tokenise(encoder, validation_file(), "validation") if inputs.validation_rows else None
    check_rows_fit(path, base, config, [train_data, *([validation] if validation else [])])
    job.reporter.planned(steps_of(train_data, config))
    job.reporter.suggest(end_of_turn_not_learned(train_data, end_tokens(tokenizer)))
    job.reporter.suggest(dora_not_servable(config))
    job.stop.check()
    job.reporter.phase(Phase.MODEL)
    model = load_model(config, path, device)
    trainer = build_trainer(config, device, Material(tokenizer, model, train_data, validation), work_dir() / "trainer")
    trainer.per_token = job.state.per_token
    job.stop.check()
    check_mergeable(config, trainer.model)
    adapter = getattr(trainer.model, "peft_config", {}).get("default")
    experts = bool(adapter and adapter.target_parameters)
    job.reporter.suggest(adapter_not_servable(config, base, on_experts=experts))
    job.reporter.phase(Phase.CHECKPOINT)
    saving = Saving(job, inputs, trainer)
    try:
        train_loss, stopped_early = fit(job, config, trainer, device, saving)
        best_step, eval_loss = saving.load_best(final_loss(job, trainer) if validation else None)
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
        stopped_early=stopped_early,
        tokens=tokens(trainer),
        suggestions=job.reporter.progress.suggestions,
        first_loss=losses[0] if (losses := logged_losses(trainer)) else None,
        last_loss=losses[-1] if losses else None,
    )
    model = whole_model(trainer)
    if ranks.several():
        # Without it some processes abort once everything is done.
        trainer.end()
        if not Place.here().first:
            raise ranks.Left
    if encoder.template:
        # Whoever uses the model must write chats as it learned them.
        use_template(tokenizer, encoder.template)
    dtype = stored_dtype(path)
    return Learned(
        results, lambda folder: save_artifact(config, model, tokenizer, base=path, dtype=dtype, folder=folder)
    )


def check_rows_fit(path: Path, base: Mapping[str, Any], config: TrainConfig, parts: list[Tokenised]) -> None:
    """Raises KubeTuneError as ``check_class`` and ``check_fits``: the preflight may have been left out."""
    uri = config.base_model
    check_class(base, uri, use_of(config))
    names = [name for file in weight_files(path, uri) for name in safetensors_header(file, uri)]
    rows = [ids for part in parts for ids in part.input_ids]
    check_fits(base, names, max(map(len, rows)), max(map(max, rows)), uri)


def tokenise(encoder: Encoder, path: Path, what: str) -> Tokenised:
    """The prepared rows as ids and labels; what was cut or left out is logged."""
    done = encoder.encode(load_rows(path), what)
    if done.truncated:
        log.warning("%d %s rows are longer than %d tokens and were cut", done.truncated, what, encoder.max_length)
    if done.dropped:
        log.warning("%d %s rows have nothing to learn within that length and were left out", done.dropped, what)
    if done.reasoning_left_out:
        log.warning("the template leaves out some of the reasoning of %d %s chats", done.reasoning_left_out, what)
    return done


def fit(job: Job, config: TrainConfig, trainer: Any, device: Device, saving: Saving) -> tuple[float | None, bool]:
    """Runs the optimizer to the end; returns the mean training loss and whether the end came early.

    ``config`` is the one in effect. Raises KubeTuneError: PREEMPTED when asked to stop before the end, DIVERGED when
    the numbers were lost, OUT_OF_MEMORY; and Restart when a recovery goes on from here.
    """
    guard = DivergenceGuard(device.precision, config.recovery)
    steps = Steps(job, trainer, saving, guard, config.hyperparameters)
    trainer.add_callback(Probe(trainer, config, device))
    trainer.add_callback(steps)
    if saving.restored and trainer.is_world_process_zero():
        carry_over(trainer, saving.restored.path)
    ranks.together()
    job.reporter.phase(Phase.TRIAL)
    try:
        trainer.train(resume_from_checkpoint=saving.resume_from)
    except Exception as error:
        if is_out_of_memory(error, torch):
            saving.drain()
        raise
    step, total = trainer.state.global_step, trainer.state.max_steps
    if not all_finite(trainer.model):
        guard.lost(step)
    if guard.problem:
        saving.drain()
        raise ranks.ended(diverged(job, config, guard, step))
    if step < total and not steps.stopped_early:
        saving.drain()
        raise ranks.ended(preempted(f"after step {step} of {total}", saving.last))
    mean = finite(mean_loss(trainer))
    job.reporter.suggest(loss_rose(logged_losses(trainer), config.hyperparameters.learning_rate))
    return mean, steps.stopped_early


def diverged(job: Job, config: TrainConfig, guard: DivergenceGuard, step: int) -> Restart | KubeTuneError:
    """What follows a divergence: once, if wanted, back to the last good checkpoint; else the end."""
    latest = job.state.latest
    if config.recovery.rollback and not job.state.rollbacks:
        return rolled_back(config, str(guard.problem), time.time(), step, latest.step if latest else None)
    kept = f"The last good checkpoint, of step {latest.step}, is kept at {latest.uri}." if latest else ""
    return guard.failure(kept or "No good checkpoint was stored before.", remedy(config.hyperparameters.learning_rate))


def steps_of(data: Tokenised, config: TrainConfig) -> int:
    """Optimizer steps of the whole run, before there is a trainer to ask."""
    lengths = [len(ids) for ids in data.input_ids]
    return plan(lengths, config.hyperparameters, processes(config)).steps


def logged_losses(trainer: Any) -> list[float]:
    """Training losses over all attempts, in order, as far as they are numbers."""
    found = (finite(entry.get("loss")) for entry in trainer.state.log_history)
    return [loss for loss in found if loss is not None]


def final_loss(job: Job, trainer: Any) -> float | None:
    """The last weights' validation loss; evaluated unless the loop has just done so."""
    last = next((entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry), None)
    if last and last["step"] == trainer.state.global_step:
        return finite(last["eval_loss"])
    job.reporter.phase(Phase.EVALUATING)
    return finite(trainer.evaluate().get("eval_loss"))


def finite(value: Any) -> float | None:
    """``value`` when it is a finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
