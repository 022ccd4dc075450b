"""Whether nothing but its turn keeps a training from starting."""

from __future__ import annotations

from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.run import final_condition, is_suspended

from .api import FineTuneJob
from .checks import find_problem
from .observed import Observed
from .preflight import read_preflight


def wants_to_start(job: FineTuneJob, observed: Observed, settings: Settings) -> bool:
    """Whether the decision will create or resume the training's Job unless it has to wait."""
    child = observed.run.job
    if job.spec.suspend:
        return False
    if child is None:
        return read_preflight(job, observed).is_passed and find_problem(job, observed.inputs, settings) is None
    is_ours = is_owned_by(child, job.metadata.uid) and "deletionTimestamp" not in child["metadata"]
    return is_ours and is_suspended(child) and final_condition(child) is None and job.spec.queue_name is None
