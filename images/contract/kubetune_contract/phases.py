"""What a workload is doing right now, as ``GET /progress`` calls it.

``TrainProgress.phase`` is plain text, so that an older operator shows what a newer image says: compare with these
members, never parse them strictly.
"""

from __future__ import annotations

import enum


class Phase(enum.StrEnum):
    """Phases of a training, in the order in which they come."""

    LIBRARIES = "loading libraries"
    DATA = "reading the data"
    MODEL = "loading the model"
    CHECKPOINT = "looking for a checkpoint"
    TRIAL = "trying the longest batch"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    STOPPING = "stopping"
    """Followed by what is saved before the end, see ``stopping``."""
    PUBLISHING = "publishing"
    EXPORTING = "exporting"
    TRACKER = "waiting for MLflow"
    STORE = "waiting for the store"
    DONE = "done"
    FAILED = "failed"


def stopping(step: int) -> str:
    """The phase of a training that was asked to stop and saves step ``step`` before it does."""
    return f"{Phase.STOPPING}: saving step {step}"
