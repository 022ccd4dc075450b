"""The train command: from prepared inputs to a published artifact and its summary.

Torch is imported in learn.py only, once everything that can fail without it is known to be well.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time

from kubetune_contract import (
    Artifact,
    ExitCode,
    KubeTuneError,
    Method,
    TrainConfig,
    TrainSummary,
    read_config,
    to_json,
    write_termination,
)
from kubetune_shared.progress import ProgressServer
from kubetune_shared.store import Store

from . import checkpoints
from .device import visible_devices
from .job import Job, Learned
from .publishing import publish_when_possible
from .report import Reporter
from .results import checkpoint_folder, config_sha256, manifest_meta, published
from .stop import StopRequest
from .tracking import Tracker
from .workspace import Inputs, load_inputs, work_dir

log = logging.getLogger(__name__)


def train(stop: StopRequest) -> ExitCode:
    """Trains, publishes and leaves the summary. Raises KubeTuneError for everything a user can act on."""
    config = read_config(TrainConfig)
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
        track_results(job, summary)
        write_termination(dataclasses.replace(summary, mlflow_run_id=tracker.run_id or summary.mlflow_run_id))
        job.reporter.phase("done")
    return ExitCode.OK


def run(job: Job) -> TrainSummary:
    """Everything between prepared inputs and the published artifact."""
    started = time.monotonic()
    inputs = load_inputs(config_sha256(job.config))
    track_settings(job, inputs)
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices(job.config.gpus, shown)
    from .learn import learn  # noqa: PLC0415 (torch: seconds, and not needed for what is above)

    learned = learn(job, inputs)
    job.reporter.phase("publishing")
    results = dataclasses.replace(
        learned.results,
        duration_seconds=round(time.monotonic() - started, 3),
        mlflow_run_id=job.tracker.run_id,
    )
    artifact = publish(job, inputs, learned, results)
    if job.config.hyperparameters.save_steps:
        checkpoints.clear(job.store, checkpoint_folder(job.config))
    return dataclasses.replace(results, artifact=artifact)


def publish(job: Job, inputs: Inputs, learned: Learned, results: TrainSummary) -> Artifact:
    """Puts the trained files into the store, with ``results`` in their manifest for a later attempt to find."""
    folder = work_dir() / "artifact"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learned.save(folder)
    known = {name: value for name, value in to_json(results).items() if name != "artifact"}
    return publish_when_possible(job.store, folder, job.config, manifest_meta(job.config, inputs, known), job.stop)


def track_settings(job: Job, inputs: Inputs) -> None:
    """The run's parameters and lineage in the tracker."""
    config = job.config
    lora = {} if config.method is Method.FULL else dataclasses.asdict(config.lora)
    job.tracker.params(
        {
            "base_model": config.base_model,
            "method": config.method,
            "dataset": config.dataset.uri,
            "dataset_sha256": inputs.dataset_sha256,
            "train_rows": inputs.train_rows,
            "validation_rows": inputs.validation_rows,
            **dataclasses.asdict(config.hyperparameters),
            **{f"lora_{name}": value for name, value in lora.items()},
        }
    )
    job.tracker.tags({"kubetune.dataset.sha256": inputs.dataset_sha256, "kubetune.config.sha256": inputs.config_sha256})


def track_results(job: Job, summary: TrainSummary) -> None:
    """The outcome in the tracker, and the end of its run."""
    job.tracker.metrics(
        {
            "final/train_loss": summary.train_loss,
            "final/eval_loss": summary.eval_loss,
            "final/duration_seconds": summary.duration_seconds,
            "final/peak_vram_bytes": summary.peak_vram_bytes,
        },
        summary.steps,
    )
    artifact = summary.artifact
    job.tracker.tags({"kubetune.artifact.uri": artifact.uri, "kubetune.artifact.sha256": artifact.manifest_sha256})
    job.tracker.finish("FINISHED")
