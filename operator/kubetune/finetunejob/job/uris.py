"""Where a FineTuneJob reads and writes."""

from __future__ import annotations

from kubetune.finetunejob.api import FineTuneJob
from kubetune.settings import Settings
from kubetune_contract import Method


def output_uri(job: FineTuneJob, settings: Settings) -> str:
    """The folder that belongs to this object alone: its uid keeps a later object of the same name apart."""
    return f"{_prefix(job, settings)}/{job.metadata.uid}"


def results_uri(job: FineTuneJob, settings: Settings) -> str:
    """The folder in which the trainer finds what earlier objects of this namespace and name have published. An output
    of the user's own may be shared, so there both are part of it."""
    prefix, meta = _prefix(job, settings), job.metadata
    return f"{prefix}/results/{meta.namespace}/{meta.name}" if job.spec.output else f"{prefix}/results"


def _prefix(job: FineTuneJob, settings: Settings) -> str:
    meta = job.metadata
    default = f"s3://{settings.store_bucket}/finetunejobs/{meta.namespace}/{meta.name}"
    return job.spec.output.uri.rstrip("/") if job.spec.output else default


def artifact_uri(job: FineTuneJob, settings: Settings) -> str:
    """Where the trainer publishes its result."""
    folder = "model" if job.spec.method is Method.FULL else "adapter"
    return f"{output_uri(job, settings)}/{folder}"


def used_uris(job: FineTuneJob, settings: Settings) -> tuple[str, ...]:
    """Everything the trainer reads or writes."""
    spec = job.spec
    reads = (spec.base_model.uri, spec.dataset.uri, spec.dataset.validation_uri)
    return (*(uri for uri in reads if uri), output_uri(job, settings))


def later_uris(job: FineTuneJob) -> tuple[str, ...]:
    """What only the evaluation afterwards reads."""
    return (job.spec.evaluation.dataset.uri,) if job.spec.evaluation else ()


def named_uris(job: FineTuneJob) -> dict[str, str]:
    """URI -> the field that names it."""
    spec = job.spec
    named = {
        "spec.evaluation.dataset.uri": spec.evaluation.dataset.uri if spec.evaluation else None,
        "spec.dataset.validationUri": spec.dataset.validation_uri,
        "spec.dataset.uri": spec.dataset.uri,
        "spec.baseModel.uri": spec.base_model.uri,
    }
    return {uri: field for field, uri in named.items() if uri}
