"""Which model a finished FineTuneJob stands for, when its adapter cannot be served as it is."""

from __future__ import annotations

import pytest

from kubetune.common.model_source import LocalRef, ModelChoice
from kubetune.finetunejob.api import ArtifactStatus, FineTuneJob
from kubetune.lineage import Model, Obstacle, Unresolved, resolve, resolve_servable
from tests.support.models import ARTIFACT, BASE, MANIFEST, NOW, failed_job, finished_job, running_job

CHOICE = ModelChoice(fine_tune_job_ref=LocalRef(name="demo"))
MERGED = ArtifactStatus(uri="s3://kubetune/x/merged", kind="merged", manifest_sha256="d" * 64, bytes=1)
GGUF = ArtifactStatus(uri="s3://kubetune/x/gguf", kind="gguf", manifest_sha256="e" * 64, bytes=1)


def job(*exports: ArtifactStatus, dora: bool) -> FineTuneJob:
    done = finished_job(lora={"useDora": dora})
    return done.model_copy(update={"status": done.status.model_copy(update={"exports": exports or None})})


def test_a_plain_adapter_is_served_on_its_base_even_where_a_merged_model_exists() -> None:
    assert resolve_servable(CHOICE, {"demo": job(MERGED, dora=False)}) == Model(BASE, ARTIFACT, MANIFEST)


def test_a_dora_adapter_is_measured_and_served_merged() -> None:
    jobs = {"demo": job(GGUF, MERGED, dora=True)}
    assert resolve(CHOICE, jobs) == resolve_servable(CHOICE, jobs) == Model(MERGED.uri, None, MERGED.manifest_sha256)


def test_a_dora_adapter_without_a_merged_model_is_measured_but_not_served() -> None:
    jobs = {"demo": job(dora=True)}
    assert resolve(CHOICE, jobs) == Model(BASE, ARTIFACT, MANIFEST)
    refused = resolve_servable(CHOICE, jobs)
    assert isinstance(refused, Unresolved)
    assert refused.obstacle is Obstacle.NOT_SERVABLE
    assert "spec.export.merged: true" in refused.message


def deleted(job: FineTuneJob) -> FineTuneJob:
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"deletion_timestamp": NOW})})


@pytest.mark.parametrize("job", [finished_job(), failed_job(), running_job()])
def test_a_job_that_is_being_deleted_counts_as_not_there(job: FineTuneJob) -> None:
    gone = resolve(CHOICE, {"demo": deleted(job)})
    assert isinstance(gone, Unresolved)
    assert gone.obstacle is Obstacle.NOT_FOUND
    assert "is being deleted" in gone.message
