"""What a training's pod is doing, in one word for the column REASON and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubetune.common.sentences import sentences
from kubetune.finetunejob.api.reasons import Reason
from kubetune.runs.read import Run

WORD_LIMIT = 64


@dataclass(frozen=True)
class Stage:
    """One part of a training's life inside its pod."""

    reason: Reason
    does: str
    """What follows the pod's name."""
    is_before_training: bool = False
    """Whether nothing is trained yet: its step and its loss say nothing about the run."""


_LOADING = Stage(Reason.LOADING_MODEL, "loads the model", is_before_training=True)
_PUBLISHING = Stage(Reason.PUBLISHING, "publishes the result")

STAGES = {
    "loading libraries": Stage(Reason.LOADING_MODEL, "loads its libraries", is_before_training=True),
    "preparing": _LOADING,
    "reading the data": Stage(Reason.LOADING_MODEL, "reads the data", is_before_training=True),
    "loading the model": _LOADING,
    "looking for a checkpoint": Stage(Reason.LOADING_MODEL, "looks for a checkpoint", is_before_training=True),
    "trying the longest batch": Stage(
        Reason.TRYING_LONGEST_BATCH, "tries whether the longest batch fits", is_before_training=True
    ),
    "training": Stage(Reason.TRAINING, "trains"),
    "evaluating": Stage(Reason.VALIDATING, "measures the validation loss"),
    "saving": Stage(Reason.SAVING, "saves a checkpoint"),
    "stopping": Stage(Reason.SAVING, "was asked to stop and saves what it has"),
    "publishing": _PUBLISHING,
    "exporting": Stage(Reason.PUBLISHING, "makes and publishes the exports"),
    "waiting for mlflow": Stage(Reason.WAITING_FOR_TRACKER, "waits for MLflow, which has not taken everything yet"),
    "waiting for the store": Stage(Reason.WAITING_FOR_STORE, "waits for the object store, which does not answer"),
    "done": _PUBLISHING,
}
"""By the contract's ``phase`` in small letters. A word that is not here is a trainer's of another release."""


def stage_of(phase: str | None) -> Stage | None:
    """None for words that nobody here knows; what follows a colon is about this very moment."""
    return STAGES.get((phase or "").partition(":")[0].strip().lower())


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
