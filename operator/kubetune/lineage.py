"""Which folders a model named in a spec stands for, once the FineTuneJobs it refers to have finished."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kubetune.common.conditions import ConditionStatus, get_condition
from kubetune.common.job_status import JobCondition
from kubetune.common.model_source import ModelChoice
from kubetune.finetunejob.api import FineTuneJob
from kubetune_contract import ModelRef, uris

ADAPTER, MERGED = "adapter", "merged"
"""Kind of the artifact of methods lora and qlora (``full`` writes a model that stands alone), and of the export of
base and adapter as one model."""


@dataclass(frozen=True)
class Model:
    """What a choice stands for: ``uri`` is the (base) model, ``manifest_sha256`` the digest of the job's artifact."""

    uri: str
    adapter_uri: str | None = None
    manifest_sha256: str | None = None

    def ref(self, name: str) -> ModelRef:
        """The model as an image reads it; ``name`` is what results and clients call it."""
        return ModelRef(name=name, uri=self.uri, adapter_uri=self.adapter_uri)


@dataclass(frozen=True)
class Unreadable:
    """A FineTuneJob that is there, and that this operator cannot read."""

    message: str


class Obstacle(enum.Enum):
    """Why a choice stands for nothing yet."""

    NOT_FOUND = "not found"
    NOT_FINISHED = "not finished"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    NOT_SERVABLE = "not servable"


@dataclass(frozen=True)
class Unresolved:
    """A choice that stands for nothing (yet), with a sentence that says what to do."""

    obstacle: Obstacle
    message: str


Found = FineTuneJob | Unreadable | None
"""What a reference leads to; None when there is none of that name."""
Jobs = Mapping[str, Found]
"""FineTuneJobs of the namespace by name."""


def read_reference(raw: dict[str, Any] | None) -> Found:
    """A FineTuneJob that another object refers to: what cannot be read of it is told, not raised."""
    try:
        return FineTuneJob.parse(raw) if raw else None
    except ValidationError as error:
        first = error.errors()[0]
        return Unreadable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def job_names(*choices: ModelChoice) -> tuple[str, ...]:
    """The FineTuneJobs the choices refer to, each once."""
    refs = (choice.fine_tune_job_ref for choice in choices)
    return tuple(dict.fromkeys(ref.name for ref in refs if ref is not None))


def resolve(choice: ModelChoice, jobs: Jobs) -> Model | Unresolved:
    """``jobs`` has an entry for every name of ``job_names(choice)``."""
    if choice.fine_tune_job_ref is None:
        # The schema asks for exactly one of fineTuneJobRef and uri.
        return Model(plain(choice.uri or ""), plain(choice.adapter_uri) if choice.adapter_uri else None)
    name = choice.fine_tune_job_ref.name
    job = jobs.get(name)
    if isinstance(job, Unreadable):
        text = f"FineTuneJob {name!r} does not fit this operator's API ({job.message}). Create it again, or use a newer"
        return Unresolved(Obstacle.UNREADABLE, f"{text} operator.")
    return result_of(name, job)


def resolve_servable(choice: ModelChoice, jobs: Jobs) -> Model | Unresolved:
    """``resolve`` for a model that vLLM is to serve: an adapter with DoRA is refused before a pod takes a GPU."""
    model = resolve(choice, jobs)
    job = jobs.get(choice.fine_tune_job_ref.name) if choice.fine_tune_job_ref else None
    if (
        isinstance(model, Unresolved)
        or not isinstance(job, FineTuneJob)
        or not model.adapter_uri
        or not _uses_dora(job)
    ):
        return model
    return Unresolved(
        Obstacle.NOT_SERVABLE,
        f"FineTuneJob {job.metadata.name!r} made a DoRA adapter, which vLLM cannot serve. Train it again with "
        "spec.export.merged: true, whose merged model is served in its place, or without spec.lora.useDora.",
    )


def result_of(name: str, job: FineTuneJob | None) -> Model | Unresolved:
    """The model that FineTuneJob ``name`` made."""
    if job is None or job.metadata.deletion_timestamp is not None:
        # How a job ended goes with it: whoever deletes it to create it again means the next one.
        what = "does not exist in this namespace. Create it" if job is None else "is being deleted. Create it again"
        return Unresolved(Obstacle.NOT_FOUND, f"FineTuneJob {name!r} {what} or correct the reference.")
    succeeded = get_condition(job.status.conditions, JobCondition.SUCCEEDED)
    if succeeded is not None and succeeded.status is ConditionStatus.FALSE:
        return Unresolved(
            Obstacle.FAILED,
            f"FineTuneJob {name!r} failed and has no model: {succeeded.message.rstrip('.')}. "
            "Correct the cause, delete the job and create it again.",
        )
    artifact = job.status.artifact
    if succeeded is None or succeeded.status is not ConditionStatus.TRUE or artifact is None:
        # Its phase without figures: those would have everything that waits written again and again.
        phase = job.status.phase.value if job.status.phase else "not started"
        return Unresolved(Obstacle.NOT_FINISHED, f"Waits for FineTuneJob {name!r} to finish ({phase}).")
    merged = next((export for export in job.status.exports or () if export.kind == MERGED), None)
    if artifact.kind == ADAPTER and _uses_dora(job) and merged:
        # What is measured must be what is served.
        return Model(plain(merged.uri), None, merged.manifest_sha256)
    if artifact.kind == ADAPTER:
        return Model(plain(job.spec.base_model.uri), plain(artifact.uri), artifact.manifest_sha256)
    return Model(plain(artifact.uri), None, artifact.manifest_sha256)


def _uses_dora(job: FineTuneJob) -> bool:
    return bool(job.spec.lora and job.spec.lora.use_dora)


def base_of(job: FineTuneJob) -> Model:
    """The model the job started from."""
    return Model(plain(job.spec.base_model.uri))


def plain(uri: str) -> str:
    """One spelling per folder (no trailing slash), so that equal folders compare equal."""
    return str(uris.parse(uri))
