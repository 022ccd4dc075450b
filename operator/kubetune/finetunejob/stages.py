"""What a training's pod is doing, in one word for the column REASON and in one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kubetune.common.sentences import sentences
from kubetune.workload.run import Run

from .reasons import Reason

WORD_LIMIT = 32


@dataclass(frozen=True)
class Stage:
    """One part of a training's life inside its pod."""

    reason: Reason
    does: str
    """What follows the pod's name."""
    is_before_training: bool = False
    """Whether nothing is trained yet: its step and its loss say nothing about the run."""


_LOADING = Stage(Reason.LOADING_MODEL, "loads libraries, data and model", is_before_training=True)
_TRIAL = Stage(Reason.TRYING_LONGEST_BATCH, "tries whether the longest batch fits", is_before_training=True)
_TRAINING = Stage(Reason.TRAINING, "trains")
_VALIDATING = Stage(Reason.VALIDATING, "measures the validation loss")
_SAVING = Stage(Reason.SAVING, "saves a checkpoint")
_PUBLISHING = Stage(Reason.PUBLISHING, "publishes the result")
_STORE = Stage(Reason.WAITING_FOR_STORE, "waits for the object store, which does not answer")
_TRACKER = Stage(Reason.WAITING_FOR_TRACKER, "waits for MLflow, which does not answer")

STAGES = {
    "starting": _LOADING,
    "preparing": _LOADING,
    "loading": _LOADING,
    "loadingmodel": _LOADING,
    "trying": _TRIAL,
    "tryinglongestbatch": _TRIAL,
    "training": _TRAINING,
    "evaluating": _VALIDATING,
    "validating": _VALIDATING,
    "saving": _SAVING,
    "publishing": _PUBLISHING,
    "exporting": _PUBLISHING,
    "waitingforstore": _STORE,
    "waitingfortracker": _TRACKER,
    "waitingformlflow": _TRACKER,
}
"""By the contract's ``phase``, small letters only. A word that is not here is a trainer's of another release."""


def stage_of(phase: str | None) -> Stage | None:
    """None for a word that nobody here knows."""
    return STAGES.get(re.sub(r"[^a-z]", "", (phase or "").lower()))


def tell(run: Run, phase: str | None) -> Run:
    """A running training with what its pod is doing in place of only that it runs."""
    stage = stage_of(phase)
    if stage is None or run.pod is None:
        return run
    plain = f"Pod {run.pod} is running."
    text = sentences(f"Pod {run.pod} {stage.does}", run.running.message.removeprefix(plain))
    return replace(
        run,
        running=replace(run.running, message=text),
        succeeded=replace(run.succeeded, reason=stage.reason, message=text),
    )
