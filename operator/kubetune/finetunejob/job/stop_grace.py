"""How long a training's pod may take to stop: to finish its step, save, and upload."""

from __future__ import annotations

import math
from typing import Any

from kubetune.finetunejob.api.status_types import PreflightStatus
from kubetune.workload.pods import is_finished
from kubetune_contract import TrainProgress

Object = dict[str, Any]

LEAST_SECONDS = 120
MOST_SECONDS = 1800
"""A node that is shut down waits for no pod longer than it is told to; beyond half an hour saving more often helps."""
MARGIN = 1.5
"""An estimate, or the longest so far, is no upper bound."""
BASE_SECONDS = 30
"""Writing to disk, the last words, and the kubelet."""


def estimated(figures: PreflightStatus | None) -> int:
    """Grace of a pod that has not run yet, in seconds, from what the preflight measured."""
    if figures is None:
        return LEAST_SECONDS
    speed = figures.upload_bytes_per_second
    upload = figures.checkpoint_bytes / speed if speed else 0.0
    step = figures.seconds.high / figures.steps if figures.seconds and figures.steps else 0.0
    return _clamp(step + upload)


def measured(said: TrainProgress | None) -> int:
    """What a running pod needs, in seconds, from what it has measured itself."""
    if said is None:
        return LEAST_SECONDS
    return _clamp((said.step_seconds or 0.0) + (said.checkpoint_seconds or 0.0))


def too_short(pods: tuple[Object, ...], needed: int) -> tuple[str, ...]:
    """Names of the live pods whose own grace is below ``needed``; one that is ending already is left alone."""
    return tuple(
        pod["metadata"]["name"]
        for pod in pods
        if not is_finished(pod)
        and "deletionTimestamp" not in pod["metadata"]
        and pod["spec"].get("terminationGracePeriodSeconds", LEAST_SECONDS) < needed
    )


def _clamp(seconds: float) -> int:
    if not math.isfinite(seconds):
        return MOST_SECONDS
    return max(LEAST_SECONDS, min(MOST_SECONDS, math.ceil(seconds * MARGIN) + BASE_SECONDS))
