"""Whether nothing but its turn keeps a training from starting, and whether it may have to wait for it again."""

from __future__ import annotations

from typing import Any

from kubetune.common.conditions import Fact
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.job.checks import find_problem
from kubetune.finetunejob.job.resources import build_train_job
from kubetune.finetunejob.observed import Observed
from kubetune.finetunejob.preflight import read_preflight
from kubetune.runs.read import JobObservation, final_condition, is_suspended
from kubetune.settings import Settings
from kubetune.workload.fingerprint import is_owned_by
from kubetune.workload.misfit import TOLERATED, expect_placement, is_misfit
from kubetune.workload.pods import is_finished

Object = dict[str, Any]


def wants_to_start(job: FineTuneJob, observed: Observed, settings: Settings) -> bool:
    """Whether the decision will create or resume the training's Job unless it has to wait."""
    child = observed.run.job
    if job.spec.suspend:
        return False
    if child is None:
        checked = read_preflight(job, observed)
        return checked.is_passed and not checked.found and find_problem(job, observed.inputs, settings) is None
    return _is_ours(job, child) and is_suspended(child) and job.spec.queue_name is None


def could_stop(job: FineTuneJob, observed: Observed) -> bool:
    """Whether the training has a place that it cannot use and that nothing is lost by giving back. What Kueue has let
    in is Kueue's to take back."""
    child = observed.run.job
    if child is None or job.spec.suspend or job.spec.queue_name is not None:
        return False
    return _is_ours(job, child) and not is_suspended(child) and is_unplaced(observed.run)


def is_unplaced(observation: JobObservation) -> bool:
    """Whether all there is of the Job is a pod that has no node, and that none can take."""
    live = [pod for pod in observation.pods if not is_finished(pod)]
    has_node = any(pod["spec"].get("nodeName") for pod in live)
    return bool(live) and not has_node and is_misfit(observation.placement)


def find_misfit(job: FineTuneJob, observed: Observed, settings: Settings) -> Fact | None:
    """Why no node takes the pod, or would take it once the Job is made or resumed; None also when nodes cannot be
    read."""
    child = observed.run.job
    if child is None:
        made = build_train_job(job, settings, read_preflight(job, observed).figures, observed.hardware)
        return expect_placement(_pod_spec(made), observed.hardware)
    if is_suspended(child):
        tolerated = child["metadata"].get("annotations", {}).get(TOLERATED) != "false"
        return expect_placement(_pod_spec(child), observed.hardware, tolerated=tolerated)
    return observed.run.placement if is_misfit(observed.run.placement) else None


def _is_ours(job: FineTuneJob, child: Object) -> bool:
    is_ending = "deletionTimestamp" in child["metadata"]
    return is_owned_by(child, job.metadata.uid) and not is_ending and final_condition(child) is None


def _pod_spec(job: Object) -> Object:
    spec: Object = job["spec"]["template"]["spec"]
    return spec
