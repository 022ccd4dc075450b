"""What the tracker is told about a run besides its curves: settings, lineage, outcome, and the model's version."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import kubetune_contract
import kubetune_shared
import kubetune_trainer
from kubetune_contract import Method, Phase, TrainConfig, TrainSummary, dumps
from kubetune_trainer.identity import identify
from kubetune_trainer.job import Job
from kubetune_trainer.reporting.hardware import describe
from kubetune_trainer.workspace import Inputs

from .tracked import Data, Version


def track_settings(job: Job, inputs: Inputs) -> None:
    """The run's parameters, lineage and data."""
    config = job.config
    job.tracker.params(settings(config, inputs))
    job.tracker.tags(lineage(config, inputs))
    job.tracker.data(Data(config.dataset.uri, inputs.dataset_sha256, inputs.train_rows, inputs.validation_rows))


def settings(config: TrainConfig, inputs: Inputs) -> dict[str, Any]:
    """Every setting under one name; those that are not set are left out."""
    lora = {} if config.method is Method.FULL else dataclasses.asdict(config.lora)
    found = {
        "base_model": config.base_model,
        "base_revision": inputs.base_revision,
        "method": config.method.value,
        "preset": config.preset,
        "dataset": config.dataset.uri,
        "dataset_sha256": inputs.dataset_sha256,
        "train_rows": inputs.train_rows,
        "validation_rows": inputs.validation_rows,
        "gpus": config.gpus,
        **dataclasses.asdict(config.hyperparameters),
        **{f"lora_{name}": value for name, value in lora.items()},
        **{f"recovery_{name}": value for name, value in dataclasses.asdict(config.recovery).items()},
        **{f"export_{name}": value for name, value in dataclasses.asdict(config.export).items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def lineage(config: TrainConfig, inputs: Inputs) -> dict[str, str]:
    """What the run was made of, by digest."""
    found = {
        "kubetune.dataset.sha256": inputs.dataset_sha256,
        "kubetune.run.sha256": identify(config, inputs.dataset_sha256, inputs.base, inputs.validation_rows).sha256,
        "kubetune.code.sha256": code_sha256(),
        "kubetune.image": config.image,
        "kubetune.hardware": describe(config.gpus),
        "kubetune.base.uri": config.base_model,
        "kubetune.base.revision": inputs.base_revision,
        "kubetune.base.sha256": inputs.base_manifest_sha256,
    }
    return {name: value for name, value in found.items() if value}


def track_results(job: Job, summary: TrainSummary) -> TrainSummary:
    """The outcome in the tracker, and the end of its run; returns the summary with what the tracker calls it."""
    tracker, artifact = job.tracker, summary.artifact
    tracker.metrics(
        {
            "final/train_loss": summary.train_loss,
            "final/eval_loss": summary.eval_loss,
            "final/duration_seconds": summary.duration_seconds,
            "final/active_seconds": summary.active_seconds,
            "final/tokens": summary.tokens,
            "final/peak_vram_bytes": summary.peak_vram_bytes,
        },
        summary.steps,
    )
    tags = {"kubetune.artifact.uri": artifact.uri, "kubetune.artifact.sha256": artifact.manifest_sha256}
    tags |= {f"kubetune.export.{export.kind}": export.uri for export in summary.exports}
    if summary.recovery:
        tags["kubetune.recovery"] = dumps(summary.recovery)[:5000]
    tracker.tags(tags)
    registered = job.config.tracking.registered_model if job.config.tracking else None
    if registered:
        tracker.register(Version(registered, artifact.uri, tags | _origin(job.config, summary)))
    job.reporter.phase(Phase.TRACKER)
    tracker.finish("FINISHED")
    told = {one.reason: one for one in (*summary.suggestions, *tracker.troubles)}
    return dataclasses.replace(
        summary,
        suggestions=tuple(told.values()),
        mlflow_run_id=tracker.run_id or summary.mlflow_run_id,
        model_version=tracker.model_version or summary.model_version,
    )


def _origin(config: TrainConfig, summary: TrainSummary) -> dict[str, str]:
    found = {
        "kubetune.uid": config.owner.uid,
        "kubetune.namespace": config.owner.namespace,
        "kubetune.name": config.owner.name,
        "kubetune.method": config.method.value,
        "kubetune.base.uri": config.base_model,
        "kubetune.dataset.sha256": summary.dataset_sha256,
        "kubetune.run.sha256": summary.run_sha256,
    }
    return {name: value for name, value in found.items() if value}


def code_sha256() -> str:
    """One digest of this project's own modules in the image: paths and contents, in order."""
    digest = hashlib.sha256()
    for package in (kubetune_contract, kubetune_shared, kubetune_trainer):
        _add(digest, Path(str(package.__file__)).parent)
    return digest.hexdigest()


def _add(digest: Any, folder: Path) -> None:
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
