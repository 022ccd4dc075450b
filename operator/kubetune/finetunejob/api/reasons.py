"""Reasons of a FineTuneJob's conditions."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Reasons of a FineTuneJob's conditions; a failure may also carry a reason of the trainer's own."""

    PREFLIGHT = "Preflight"
    PREFLIGHT_PASSED = "PreflightPassed"
    PREFLIGHT_SKIPPED = "PreflightSkipped"
    DOES_NOT_FIT = "DoesNotFit"
    TIGHT = "Tight"
    QUEUED = "Queued"
    BUDGET_EXCEEDED = "BudgetExceeded"
    LOADING_MODEL = "LoadingModel"
    TRYING_LONGEST_BATCH = "TryingLongestBatch"
    TRAINING = "Training"
    VALIDATING = "Validating"
    SAVING = "Saving"
    PUBLISHING = "Publishing"
    WAITING_FOR_STORE = "WaitingForStore"
    WAITING_FOR_TRACKER = "WaitingForTracker"
    RESULT_FOUND = "ResultFound"
    DIVERGED = "Diverged"
    DATA_CHANGED = "DataChanged"
