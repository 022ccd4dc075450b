"""Merged model and GGUF beside the result: made by a process of its own, once the result is published.

What cannot be made is told as a suggestion and costs nothing that was trained; what failed for the moment only is
made by the next attempt, which finds the result published and does just this.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from kubetune_contract import (
    Artifact,
    ExitCode,
    FailureSummary,
    KubeTuneError,
    Phase,
    Suggestion,
    TrainSummary,
    from_json,
)
from kubetune_shared.artifacts import fetch
from kubetune_trainer.data.rowkeys import hand_on_keys
from kubetune_trainer.job import Job
from kubetune_trainer.publishing.card import export_card
from kubetune_trainer.publishing.publish import publish_when_possible
from kubetune_trainer.publishing.results import export_uri, manifest_meta
from kubetune_trainer.workspace import Inputs, config_sha256, exports_dir, load_inputs

from .exportable import missing

POLL_SECONDS = 0.5
MEMORY_BYTES = 4 << 30
"""Main memory an export may need: one shard of the merged model twice, and the libraries."""

log = logging.getLogger(__name__)


def export(job: Job, summary: TrainSummary) -> TrainSummary:
    """``summary`` with every export that could be made.

    Raises KubeTuneError for what another attempt may cure: PREEMPTED, or UNAVAILABLE for a store that is away.
    """
    kinds = missing(job.config, summary)
    if not kinds:
        return summary
    # The trained model is no longer needed, but in reference cycles.
    gc.collect()
    inputs = load_inputs(config_sha256(job.config))
    shutil.rmtree(exports_dir(), ignore_errors=True)
    fetch(job.store, summary.artifact.uri, exports_dir() / "source")
    try:
        problem = _make(job, dict.fromkeys(("merged", *kinds) if summary.artifact.kind == "adapter" else kinds))
        for kind in kinds:
            if (exports_dir() / kind).is_dir():
                artifact = _publish(job, inputs, summary, kind)
                summary = dataclasses.replace(summary, exports=(*summary.exports, artifact))
    finally:
        shutil.rmtree(exports_dir(), ignore_errors=True)
    if problem and problem.code in {ExitCode.UNAVAILABLE, ExitCode.PREEMPTED}:
        raise problem
    return _with_failure(job, summary, problem) if problem else summary


def _with_failure(job: Job, summary: TrainSummary, error: KubeTuneError) -> TrainSummary:
    left = " and ".join(missing(job.config, summary))
    message = f"{left} could not be exported; the {summary.artifact.kind} is published. {error.message}"
    log.error("%s", message)
    return dataclasses.replace(summary, suggestions=(*summary.suggestions, Suggestion("ExportFailed", message[:600])))


def _make(job: Job, kinds: Iterable[str]) -> KubeTuneError | None:
    """Runs the exporter to its end; returns what it died of, having made some kinds or none.

    Raises KubeTuneError (PREEMPTED) when asked to stop.
    """
    log.info("exporting %s", " and ".join(kinds))
    job.reporter.phase(Phase.EXPORTING)
    outcome = exports_dir() / "outcome.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "kubetune_trainer.exports.exporter", *kinds],
        env={**_alone(os.environ), "KUBETUNE_TERMINATION_LOG": str(outcome)},
    )
    try:
        while process.poll() is None:
            if job.stop.wait(POLL_SECONDS) and process.poll() is None:
                raise KubeTuneError(
                    ExitCode.PREEMPTED,
                    "Preempted",
                    "asked to stop while exporting; the result is published, and the next attempt makes the exports",
                )
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return _failure(process.returncode, outcome) if process.returncode else None


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what makes a library believe it is one of several training processes."""
    several = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return {name: value for name, value in environment.items() if name not in several}


def _failure(status: int, outcome: Path) -> KubeTuneError:
    if status == -9:
        return KubeTuneError(
            ExitCode.OUT_OF_MEMORY,
            "OutOfMemory",
            f"the export was killed, most likely for memory: it needs up to {MEMORY_BYTES / 2**30:.0f} GiB, and the "
            "whole model in main memory where layers cannot be merged one by one (GPT-2, experts, Gemma 3 with its "
            "tower); resources.memory allows {memory_limit() / 2**30:.1f} GiB for it and the training's own",
        )
    try:
        told = from_json(FailureSummary, json.loads(outcome.read_text(encoding="utf-8")))
        return KubeTuneError(ExitCode(told.exit_code), told.reason, told.message)
    except (OSError, ValueError, KubeTuneError):
        return KubeTuneError(ExitCode.BUG, "InternalError", f"the export ended with status {status}")


def _publish(job: Job, inputs: Inputs, summary: TrainSummary, kind: str) -> Artifact:
    folder, uri = exports_dir() / kind, export_uri(job.config, kind)
    result = (exports_dir() / "source" / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(export_card(result, kind, job.config), encoding="utf-8")
    if kind == "merged":
        hand_on_keys(exports_dir() / "source", folder)
    meta = manifest_meta(job.config, inputs, {}, derived_from=summary.artifact)
    return publish_when_possible(job, folder, uri, kind=kind, meta=meta)
