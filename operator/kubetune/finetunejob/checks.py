"""What must hold before a pod is started; each check tells the user what to do."""

from __future__ import annotations

from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs, Problem, check_inputs
from kubetune.workload.resolution import check_spelling

from .api import FineTuneJob, Reason
from .config import build_tracking
from .uris import used_uris


def find_problem(job: FineTuneJob, inputs: Inputs, settings: Settings) -> Problem | None:
    """The first check that does not hold."""
    return (
        check_uris(job, settings)
        or check_tracking(job, settings)
        or check_inputs(inputs, used_uris(job, settings), job.metadata.namespace)
    )


def check_uris(job: FineTuneJob, settings: Settings) -> Problem | None:
    """Of every URI the job reads or writes."""
    return check_spelling(used_uris(job, settings))


def check_tracking(job: FineTuneJob, settings: Settings) -> Problem | None:
    """A name in a registry that nobody runs would be ignored in silence."""
    own = job.spec.tracking
    if own is None or own.registered_model is None or build_tracking(job, settings):
        return None
    text = (
        "spec.tracking.registeredModel needs an MLflow server, and the operator has no default one: set "
        "spec.tracking.uri, or leave registeredModel out."
    )
    return Problem(Reason.INVALID_SPEC, text)
