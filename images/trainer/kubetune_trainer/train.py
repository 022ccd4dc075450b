"""The training itself, from prepared inputs to a published artifact. Imports torch."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils.logging import disable_progress_bar

from kubetune_contract import (
    Artifact,
    ExitCode,
    KubeTuneError,
    TrainConfig,
    TrainSummary,
    read_config,
    to_json,
    write_termination,
)
from kubetune_contract.paths import SCHEMA
from kubetune_shared.progress import ProgressServer
from kubetune_shared.rows import load_rows
from kubetune_shared.store import Store

from . import checkpoints
from .build import Material, build_trainer
from .callbacks import SaveToStore, Watch
from .data import Encoder, Tokenised
from .device import Device, detect, threads
from .guard import DivergenceGuard, diverged
from .memory import is_out_of_memory, out_of_memory, peak_vram
from .model import all_finite, encoder_for, load_model, load_tokenizer, stored_dtype
from .publishing import publish_when_possible, save_artifact
from .report import Reporter
from .results import artifact_uri, checkpoint_folder, config_sha256, manifest_meta, published
from .stop import StopRequest, preempted
from .tracking import Tracker
from .workspace import Inputs, load_inputs, train_file, validation_file, work_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """The run's configuration with what it talks to."""

    config: TrainConfig
    store: Store
    reporter: Reporter
    tracker: Tracker
    stop: StopRequest


def train(stop: StopRequest) -> ExitCode:
    """Trains, publishes and leaves the summary. Raises KubeTuneError for everything a user can act on."""
    config = read_config(TrainConfig)
    quiet()
    tracker = Tracker(config.tracking, config.owner)
    with ProgressServer("kubetune_train") as server:
        job = Job(config, Store(config.store), Reporter(server.publish, time.time), tracker, stop)
        try:
            summary = published(job.store, config) or run(job)
        except BaseException as error:
            job.reporter.phase("failed")
            killed = isinstance(error, KubeTuneError) and error.code is ExitCode.PREEMPTED
            tracker.finish("KILLED" if killed else "FAILED", seconds=10)
            raise
        tracker.tags(
            {
                "kubetune.artifact.uri": summary.artifact.uri,
                "kubetune.artifact.sha256": summary.artifact.manifest_sha256,
            }
        )
        tracker.finish("FINISHED")
        write_termination(dataclasses.replace(summary, mlflow_run_id=tracker.run_id or summary.mlflow_run_id))
        job.reporter.phase("done")
    return ExitCode.OK


def quiet() -> None:
    """Keeps what the libraries say to their developers out of a user's log."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    disable_progress_bars()
    disable_progress_bar()


def run(job: Job) -> TrainSummary:
    """Everything between prepared inputs and the published artifact."""
    started = time.monotonic()
    inputs = load_inputs(config_sha256(job.config))
    track_settings(job, inputs)
    device = detect(job.config.gpus, torch)
    torch.set_num_threads(threads())
    log.info("%s on %s in %s", job.config.method, device.name, device.precision)
    try:
        results, model, tokenizer = learn(job, inputs, device)
    except Exception as error:
        if is_out_of_memory(error, torch):
            raise out_of_memory(error, job.config, peak_vram(torch)) from error
        raise
    job.reporter.phase("publishing")
    results = dataclasses.replace(results, duration_seconds=round(time.monotonic() - started, 3))
    return publish_results(job, inputs, results, model, tokenizer)


def learn(job: Job, inputs: Inputs, device: Device) -> tuple[TrainSummary, Any, Any]:
    """Tokenises, loads the model and trains it; returns results (without artifact yet), trained model and tokenizer."""
    path = Path(inputs.model_path)
    tokenizer = load_tokenizer(path, job.config.base_model)
    encoder = encoder_for(tokenizer, job.config.hyperparameters.max_sequence_length)
    train_data = tokenise(encoder, train_file(), "training")
    validation = tokenise(encoder, validation_file(), "validation") if inputs.validation_rows else None
    job.stop.check()
    model = load_model(job.config, path, device)
    material = Material(tokenizer, model, train_data, validation)
    trainer = build_trainer(job.config, device, material, work_dir() / "trainer")
    job.stop.check()
    train_loss = fit(job, inputs, trainer, device)
    eval_loss = trainer.evaluate().get("eval_loss") if validation else None
    parts = [train_data, *([validation] if validation else [])]
    results = TrainSummary(
        schema=SCHEMA,
        artifact=Artifact(artifact_uri(job.config), "", "", 0),
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
    )
    return results, trainer.model, tokenizer


def tokenise(encoder: Encoder, path: Path, what: str) -> Tokenised:
    """The prepared rows as ids and labels; what was cut or left out is logged."""
    done = encoder.encode(load_rows(path), what)
    if done.truncated:
        log.warning("%d %s rows are longer than %d tokens and were cut", done.truncated, what, encoder.max_length)
    if done.dropped:
        log.warning("%d %s rows have nothing to learn within that length and were left out", done.dropped, what)
    if done.unmasked:
        log.warning(
            "%d %s chats are learned as a whole: the chat template does not show the turns", done.unmasked, what
        )
    return done


def fit(job: Job, inputs: Inputs, trainer: Any, device: Device) -> float | None:
    """Runs the optimizer to the end and returns the mean training loss.

    Raises KubeTuneError: PREEMPTED when asked to stop before the end, DIVERGED when the numbers were lost.
    """
    hyper, digest = job.config.hyperparameters, config_sha256(job.config)
    guard = DivergenceGuard(device.precision)
    trainer.add_callback(Watch(job.reporter, job.tracker, guard, job.stop))
    folder = checkpoint_folder(job.config)
    uploader = checkpoints.Uploader(job.store, folder, manifest_meta(job.config, inputs, {}), job.reporter.checkpointed)
    resume: tuple[int, Path] | None = None
    if hyper.save_steps:
        trainer.add_callback(SaveToStore(uploader, job.reporter))
        resume = checkpoints.restore(job.store, folder, digest, work_dir() / "restored")
        if resume:
            log.info("going on from the checkpoint of step %d", resume[0])
            uploader.last = resume[0]
    outcome = trainer.train(resume_from_checkpoint=str(resume[1]) if resume else None)
    uploader.drain()
    guard.check(hyper.learning_rate)
    if not all_finite(trainer.model):
        raise diverged("the trained weights hold numbers that are not finite", hyper.learning_rate)
    step, total = trainer.state.global_step, trainer.state.max_steps
    if step < total:
        raise preempted(f"after step {step} of {total}", uploader.last)
    job.reporter.memory(peak_vram(torch))
    return finite(outcome.training_loss)


def publish_results(job: Job, inputs: Inputs, results: TrainSummary, model: Any, tokenizer: Any) -> TrainSummary:
    """Puts the artifact into the store; checkpoints are no longer needed then."""
    results = dataclasses.replace(results, mlflow_run_id=job.tracker.run_id)
    known = {name: value for name, value in to_json(results).items() if name != "artifact"}
    dtype = stored_dtype(Path(inputs.model_path))
    folder = save_artifact(job.config, model, tokenizer, dtype, work_dir() / "artifact")
    artifact = publish_when_possible(job.store, folder, job.config, manifest_meta(job.config, inputs, known), job.stop)
    summary = dataclasses.replace(results, artifact=artifact)
    if job.config.hyperparameters.save_steps:
        checkpoints.clear(job.store, checkpoint_folder(job.config))
    job.tracker.metrics(
        {
            "final/train_loss": summary.train_loss,
            "final/eval_loss": summary.eval_loss,
            "final/duration_seconds": summary.duration_seconds,
            "final/peak_vram_bytes": summary.peak_vram_bytes,
        },
        summary.steps,
    )
    return summary


def track_settings(job: Job, inputs: Inputs) -> None:
    """The run's parameters and lineage in the tracker."""
    config = job.config
    job.tracker.params(
        {
            "base_model": config.base_model,
            "method": config.method,
            "dataset": config.dataset.uri,
            "dataset_sha256": inputs.dataset_sha256,
            "train_rows": inputs.train_rows,
            "validation_rows": inputs.validation_rows,
            **dataclasses.asdict(config.hyperparameters),
            **({} if config.method == "full" else {f"lora_{k}": v for k, v in dataclasses.asdict(config.lora).items()}),
        }
    )
    job.tracker.tags({"kubetune.dataset.sha256": inputs.dataset_sha256, "kubetune.config.sha256": inputs.config_sha256})


def finite(value: Any) -> float | None:
    """``value`` when it is a finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
