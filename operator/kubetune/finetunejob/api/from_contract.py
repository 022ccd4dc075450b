"""From what the trainer's pods say to members of the status."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from kubetune.common.doubt import attempt, clip
from kubetune_contract import Artifact, PreflightSummary, Range, RecoveryStep, TrainSummary
from kubetune_contract import MemoryEstimate as ContractEstimate
from kubetune_contract import RowSettings as ContractSettings
from kubetune_contract import Suggestion as ContractSuggestion

from .status_types import (
    EXPORT_LIMIT,
    MODEL_VERSION_LIMIT,
    RECOVERY_LIMIT,
    RUN_ID_LIMIT,
    SUGGESTION_LIMIT,
    ArtifactStatus,
    Estimate,
    MemoryEstimate,
    PreflightStatus,
    RecoveryStatus,
    RowSettings,
    Suggestion,
    TrainingResults,
)

TEXT_LIMIT = 1024


def finite(value: float | None) -> float | None:
    """To four significant digits: that is what a person reads, and all that a mean over a few batches is worth. None
    for what JSON has no word for."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def moment(seconds: float) -> datetime:
    """A time of the contract, in whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC)


def preflight_status(summary: PreflightSummary) -> PreflightStatus:
    """Raises ValueError for figures that cannot be."""
    return PreflightStatus(
        fit=summary.fit,
        message=clip(summary.fit_message, 2048),
        train_rows=summary.train_rows,
        validation_rows=summary.validation_rows,
        dataset_sha256=summary.dataset_sha256,
        steps=summary.steps,
        tokens_per_epoch=summary.tokens_per_epoch,
        token_lengths=summary.token_lengths or None,
        histogram=summary.histogram or None,
        truncated_rows=summary.truncated_rows,
        dropped_rows=summary.dropped_rows,
        masked_share=finite(summary.masked_share) or 0.0,
        duplicate_rows=summary.duplicate_rows,
        leaked_rows=summary.leaked_rows,
        missing_rows=summary.missing_rows,
        unused_members=summary.unused_members or None,
        columns={member: clip(column, 128) for member, column in summary.columns.items()} or None,
        columns_confidence=finite(summary.columns_confidence),
        memory=_memory(summary.memory),
        disk_bytes=summary.disk_bytes,
        checkpoint_bytes=summary.checkpoint_bytes,
        upload_bytes_per_second=finite(summary.upload_bytes_per_second),
        seconds=_estimate(summary.seconds),
        cost=_estimate(summary.cost),
        kwh=_estimate(summary.kwh),
        settings=read_settings(summary.settings),
    )


def read_settings(said: ContractSettings | None) -> RowSettings | None:
    """What the number of rows decides. Raises ValueError for settings that cannot be."""
    return RowSettings(**{**vars(said), "reason": clip(said.reason, 512)}) if said else None


def _memory(memory: ContractEstimate | None) -> MemoryEstimate | None:
    return MemoryEstimate(**vars(memory)) if memory else None


def _estimate(value: Range | None) -> Estimate | None:
    if value is None:
        return None
    low, central, high = finite(value.low), finite(value.estimate), finite(value.high)
    if low is None or central is None or high is None:
        return None
    return Estimate(low=low, estimate=central, high=high)


def read_suggestions(said: Iterable[ContractSuggestion]) -> tuple[Suggestion, ...]:
    return tuple(Suggestion(reason=clip(one.reason, 256), message=clip(one.message, TEXT_LIMIT)) for one in said)


def merge_suggestions(
    old: Iterable[Suggestion] | None, new: Iterable[Suggestion] | None
) -> tuple[Suggestion, ...] | None:
    """One of each reason, the newest words; None of none, so that the status has no empty list."""
    by_reason = {one.reason: one for one in (*(old or ()), *(new or ()))}
    return tuple(by_reason.values())[:SUGGESTION_LIMIT] or None


def read_recovery(steps: Iterable[RecoveryStep]) -> tuple[RecoveryStatus, ...] | None:
    """The last ones; None of none. Raises ValueError for settings that cannot be."""
    return tuple(map(_recovery, steps))[-RECOVERY_LIMIT:] or None


def _recovery(step: RecoveryStep) -> RecoveryStatus:
    members = {**vars(step), "message": clip(step.message, TEXT_LIMIT), "time": moment(step.at)}
    del members["at"]
    return RecoveryStatus(**members)


def read_artifact(artifact: Artifact) -> ArtifactStatus:
    return ArtifactStatus(
        uri=artifact.uri, kind=artifact.kind, manifest_sha256=artifact.manifest_sha256, bytes=artifact.bytes
    )


def read_exports(exports: Iterable[Artifact]) -> tuple[ArtifactStatus, ...] | None:
    return tuple(map(read_artifact, exports))[:EXPORT_LIMIT] or None


def read_results(summary: TrainSummary) -> TrainingResults:
    return TrainingResults(
        steps=summary.steps,
        best_step=summary.best_step,
        stopped_early=summary.stopped_early,
        train_rows=summary.train_rows,
        validation_rows=summary.validation_rows,
        train_loss=finite(summary.train_loss),
        first_loss=finite(summary.first_loss),
        last_loss=finite(summary.last_loss),
        eval_loss=finite(summary.eval_loss),
        duration_seconds=summary.duration_seconds,
        tokens=summary.tokens,
        dataset_sha256=summary.dataset_sha256,
        dropped_rows=summary.dropped_rows,
        truncated_rows=summary.truncated_rows,
        peak_vram_bytes=summary.peak_vram_bytes,
        run_sha256=summary.run_sha256,
        trained_time=found_at(summary),
    )


def result_members(summary: TrainSummary) -> dict[str, Any]:
    """What a finished training has published, as members of the status. Raises ValueError for an artifact that cannot
    be; what is merely told beside it is left out in that case, for it is not worth the training."""
    return {
        "artifact": read_artifact(summary.artifact),
        "exports": attempt(read_exports, summary.exports),
        "results": attempt(read_results, summary),
        "mlflow_run_id": _within(summary.mlflow_run_id, RUN_ID_LIMIT),
        "model_version": _within(summary.model_version, MODEL_VERSION_LIMIT),
    }


def found_at(summary: TrainSummary) -> datetime | None:
    """When the result was trained that was found in the object store; None when it was trained just now, or when the
    date cannot be."""
    return attempt(moment, summary.found.at) if summary.found else None


def _within(text: str | None, limit: int) -> str | None:
    """An identifier that was cut would name something else."""
    return text if text and len(text) <= limit else None
