"""What must hold before the evaluator's pod is started; each check tells the user what to do."""

from __future__ import annotations

from kubetune.common.reasons import Shared
from kubetune.finetunejob.api import FineTuneJob
from kubetune.lineage import Jobs, plain
from kubetune.settings import Settings
from kubetune.workload.inputs import Inputs, Problem, check_inputs
from kubetune.workload.secrets import check_secrets

from .api import Evaluation
from .resources import Models, all_secrets, named_uris, used_uris


def find_missing(
    evaluation: Evaluation, models: Models | None, inputs: Inputs, settings: Settings, again: float
) -> Problem | None:
    """The first claim, ConfigMap or Secret that is not there; ``again`` is when it is looked for again."""
    namespace = evaluation.metadata.namespace
    used, needed = used_uris(evaluation, models), all_secrets(evaluation, models, settings)
    return check_inputs(inputs, used, namespace, named_uris(evaluation)) or check_secrets(
        inputs.missing_secrets, needed, namespace, settings, again
    )


def find_senseless(evaluation: Evaluation, models: Models, jobs: Jobs) -> Problem | None:
    """What only shows once the FineTuneJobs are known: the schema sees what is written alike."""
    candidate = models.candidate
    for one in models.baselines:
        if (one.uri, one.adapter_uri) == (candidate.uri, candidate.adapter_uri):
            shown = candidate.adapter_uri or candidate.uri
            text = (
                f"spec.baselines names {shown} as {one.name!r}, which is what spec.candidate is: nothing could be "
                "measured. Create the Evaluation again with another baseline."
            )
            return Problem(Shared.INVALID_SPEC, text)
    ref = evaluation.spec.candidate.fine_tune_job_ref
    job, data = jobs.get(ref.name) if ref else None, plain(evaluation.spec.dataset.uri)
    # One that a FineTuneJob brought along was checked with it, before the training.
    is_own = any(owner.controller for owner in evaluation.metadata.owner_references)
    if isinstance(job, FineTuneJob) and not is_own and plain(job.spec.dataset.uri) == data:
        text = (
            f"spec.dataset.uri is what FineTuneJob {job.metadata.name!r} was trained on: a model knows those rows, so "
            "the result would mean nothing. Create the Evaluation again with rows kept apart."
        )
        return Problem(Shared.INVALID_SPEC, text)
    return None
