"""From what the trainer's pods say to members of the status."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime

from kubetune_contract import (
    Artifact,
    ContractError,
    PreflightSummary,
    Range,
    RecoveryStep,
    TrainSummary,
    from_json,
)
from kubetune_contract import MemoryEstimate as ContractEstimate
from kubetune_contract import RowSettings as ContractSettings
from kubetune_contract import Suggestion as ContractSuggestion

from .api import ArtifactStatus, PreflightStatus, TrainingResults
from .measured import (
    EXPORT_LIMIT,
    RECOVERY_LIMIT,
    SUGGESTION_LIMIT,
    Estimate,
    MemoryEstimate,
    RecoveryStatus,
    RowSettings,
    Suggestion,
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
        message=_cut(summary.fit_message, 2048),
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
    return RowSettings(**{**vars(said), "reason": _cut(said.reason, 512)}) if said else None


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
    return tuple(Suggestion(reason=_cut(one.reason, 256), message=_cut(one.message)) for one in said)


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
    members = {**vars(step), "message": _cut(step.message), "time": moment(step.at)}
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
        trained_time=moment(summary.found.at) if summary.found else None,
    )


def read_summary(message: str | None) -> TrainSummary | None:
    """The trainer's last word; None where it cannot be read, or has figures that cannot be: they must not stop the
    reconciler."""
    try:
        summary = from_json(TrainSummary, json.loads(message or ""))
        read_artifact(summary.artifact), read_results(summary), read_recovery(summary.recovery)
    except (ValueError, ArithmeticError, ContractError):
        return None
    return summary


def _cut(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
