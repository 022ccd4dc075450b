"""What must hold before a pod is started; each check tells the user what to do."""

from __future__ import annotations

from kubetune.common.reasons import Shared
from kubetune.finetunejob.api import FineTuneJob
from kubetune.runs.decide import PROBLEM_SECONDS
from kubetune.settings import Settings
from kubetune.workload.gpu import check_shares
from kubetune.workload.inputs import Inputs, Problem, check_inputs, check_spelling
from kubetune.workload.secrets import SecretUse, check_secrets, needed_secrets

from .config import build_tracking, tracking_secret
from .uris import later_uris, named_uris, used_uris


def find_problem(job: FineTuneJob, inputs: Inputs, settings: Settings) -> Problem | None:
    """The first check that does not hold."""
    namespace = job.metadata.namespace
    return (
        check_uris(job, settings)
        or check_shares(job.spec.resources, settings)
        or check_tracking(job, settings)
        or check_inputs(inputs, all_uris(job, settings), namespace, named_uris(job))
        or check_secrets(inputs.missing_secrets, all_secrets(job, settings), namespace, settings, PROBLEM_SECONDS)
    )


def all_uris(job: FineTuneJob, settings: Settings) -> tuple[str, ...]:
    """What preflight, training and evaluation read or write: what only the last of them misses is told first."""
    return (*used_uris(job, settings), *later_uris(job))


def all_secrets(job: FineTuneJob, settings: Settings) -> tuple[SecretUse, ...]:
    """The Secrets of all their pods."""
    tracking = tracking_secret(job, settings)
    return (*needed_secrets(settings, job.spec, all_uris(job, settings)), *((tracking,) if tracking else ()))


def check_uris(job: FineTuneJob, settings: Settings) -> Problem | None:
    """Of every URI the job reads or writes."""
    return check_spelling(all_uris(job, settings))


def check_tracking(job: FineTuneJob, settings: Settings) -> Problem | None:
    """A name in a registry that nobody runs, or a key to it, would be ignored in silence."""
    own = job.spec.tracking
    if own is None or build_tracking(job, settings):
        return None
    given = "registeredModel" if own.registered_model else "secret" if own.secret else ""
    if not given:
        return None
    text = (
        f"spec.tracking.{given} needs an MLflow server, and the operator has no default one: set "
        f"spec.tracking.uri, or leave {given} out."
    )
    return Problem(Shared.INVALID_SPEC, text)
