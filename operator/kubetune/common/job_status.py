"""Status types of the kinds that run once: FineTuneJob and Evaluation."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import BeforeValidator, Field

from .doubt import clip
from .meta import Status
from .model import ApiModel, Timestamp


class JobPhase(enum.StrEnum):
    """One word for the printer column, derived from the conditions."""

    PENDING = "Pending"
    PREFLIGHT = "Preflight"
    """Only a FineTuneJob has one."""
    QUEUED = "Queued"
    """A FineTuneJob that waits for a place, a budget or Kueue."""
    RUNNING = "Running"
    SUSPENDING = "Suspending"
    """Suspended, and its pod has not stopped yet: a training saves what it has."""
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class JobCondition(enum.StrEnum):
    """Types of the conditions, in the order in which they become True."""

    ACCEPTED = "Accepted"
    """The spec is usable, and what it names was found so far."""
    PREFLIGHTED = "Preflighted"
    """Data, model and access were checked and the run fits the GPU's memory; only a FineTuneJob has it."""
    SCHEDULED = "Scheduled"
    """A node was found for the pod."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    """The summary: True when done, False when failed for good, Unknown until then."""
    FINISHED = "Finished"
    """True at either end, with the reason Succeeded or Failed: what to wait for when both will do."""


FAILURE_REASON_LIMIT, FAILURE_MESSAGE_LIMIT = 256, 4096


def _clipped(limit: int) -> BeforeValidator:
    """Pods and objects of other kinds say as much as they like."""
    return BeforeValidator(lambda text: clip(text, limit) if isinstance(text, str) else text)


class Failure(ApiModel):
    """Why it failed."""

    reason: Annotated[str, _clipped(FAILURE_REASON_LIMIT)] = Field(max_length=FAILURE_REASON_LIMIT)
    """One CamelCase word."""
    message: Annotated[str, _clipped(FAILURE_MESSAGE_LIMIT)] = Field(max_length=FAILURE_MESSAGE_LIMIT)
    """What was wrong, where, and what to do."""
    exit_code: int | None = None
    """Exit status of the container; docs/training.md has their meaning."""
    pod: str | None = Field(default=None, max_length=253)
    """The pod that failed last."""


class JobStatus(Status):
    """What is measured of something that runs once."""

    phase: JobPhase | None = None
    """Pending, Preflight and Queued (a FineTuneJob's), Running, Suspending, Suspended, Succeeded or Failed."""
    attempts: int | None = Field(default=None, ge=0)
    """Pods started so far."""
    start_time: Timestamp | None = None
    """When the first pod started."""
    completion_time: Timestamp | None = None
    """When it succeeded or failed for good."""
    failure: Failure | None = None
    """Why the last attempt failed; it stays while the run is tried again, and goes once that has succeeded."""
