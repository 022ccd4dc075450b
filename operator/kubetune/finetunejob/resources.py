"""Builds what a FineTuneJob needs in the cluster: the trainer's configuration, its Job, and the Evaluation after it."""

from __future__ import annotations

from typing import Any

from kubetune.common.labels import Component, labels
from kubetune.common.meta import API_VERSION
from kubetune.common.names import child_name
from kubetune.settings import Settings
from kubetune.workload.job import build_job
from kubetune.workload.pod import Container, PodPlan, pod_template
from kubetune_contract import (
    Dataset,
    Hyperparameters,
    Lora,
    Method,
    ObjectStore,
    Owner,
    Tracking,
    TrainConfig,
    dumps,
    paths,
)

from .api import FineTuneJob

Object = dict[str, Any]

INIT, MAIN = "prepare", "train"
MODULE = "kubetune_trainer"
GRACE_SECONDS = 120
"""The trainer saves and uploads a checkpoint when it is asked to stop."""


def job_name(name: str) -> str:
    """Name of the Job of the FineTuneJob called ``name``."""
    return child_name(name, "train")


def output_uri(job: FineTuneJob, settings: Settings) -> str:
    """The folder that belongs to this object alone: its uid keeps a later object of the same name apart."""
    meta = job.metadata
    default = f"s3://{settings.store_bucket}/finetunejobs/{meta.namespace}/{meta.name}"
    prefix = job.spec.output.uri if job.spec.output else default
    return f"{prefix.rstrip('/')}/{meta.uid}"


def artifact_uri(job: FineTuneJob, settings: Settings) -> str:
    """Where the trainer publishes its result."""
    folder = "model" if job.spec.method is Method.FULL else "adapter"
    return f"{output_uri(job, settings)}/{folder}"


def used_uris(job: FineTuneJob, settings: Settings) -> tuple[str, ...]:
    """Everything the trainer reads or writes."""
    spec = job.spec
    reads = (spec.base_model.uri, spec.dataset.uri, spec.dataset.validation_uri)
    return (*(uri for uri in reads if uri), output_uri(job, settings))


def build_config(job: FineTuneJob, settings: Settings) -> TrainConfig:
    """The trainer's whole configuration, without secrets."""
    meta, spec, data = job.metadata, job.spec, job.spec.dataset
    return TrainConfig(
        schema=paths.SCHEMA,
        owner=Owner(meta.namespace, meta.name, meta.uid),
        base_model=spec.base_model.uri,
        dataset=Dataset(
            uri=data.uri,
            format=data.format,
            columns=dict(data.columns or {}),
            validation_uri=data.validation_uri,
            validation_share=data.validation_share,
        ),
        output=output_uri(job, settings),
        store=ObjectStore(settings.store_endpoint or None, settings.store_region),
        method=spec.method,
        lora=Lora(**spec.lora.model_dump()) if spec.lora else Lora(),
        hyperparameters=Hyperparameters(**spec.hyperparameters.model_dump(mode="json")),
        tracking=_tracking(job, settings),
        gpus=spec.resources.gpu,
    )


def build_train_job(job: FineTuneJob, settings: Settings) -> Object:
    """The Job that trains."""
    name, image = job.metadata.name, settings.trainer_image
    own_labels = labels(job.info, name, Component.TRAINER)
    ports = [{"name": "progress", "containerPort": paths.PROGRESS_PORT}]
    plan = PodPlan(
        labels=own_labels,
        config=dumps(build_config(job, settings)),
        options=job.spec,
        uris=used_uris(job, settings),
        init=Container(INIT, image, MODULE, "prepare"),
        main=Container(MAIN, image, MODULE, "train", {"ports": ports}),
        grace_seconds=GRACE_SECONDS,
    )
    metadata = _child_metadata(job, job_name(name), own_labels)
    return build_job(metadata, pod_template(settings, plan), job.spec)


def build_evaluation(job: FineTuneJob) -> Object | None:
    """The Evaluation of ``spec.evaluation``: this job against its own base model, run where the job ran."""
    template = job.spec.evaluation
    if template is None:
        return None
    spec = template.to_dict()
    place = job.spec.to_dict()
    for member in ("resources", "nodeSelector", "tolerations", "runtimeClassName", "credentials", "output"):
        if member in place and member not in spec:
            spec[member] = place[member]
    spec["candidate"] = {"fineTuneJobRef": {"name": job.metadata.name}}
    return {
        "apiVersion": API_VERSION,
        "kind": "Evaluation",
        "metadata": _child_metadata(job, job.metadata.name, labels(job.info, job.metadata.name, Component.EVALUATOR)),
        "spec": spec,
    }


def _child_metadata(job: FineTuneJob, name: str, own_labels: dict[str, str]) -> Object:
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": own_labels,
        "ownerReferences": [job.owner_reference()],
    }


def _tracking(job: FineTuneJob, settings: Settings) -> Tracking | None:
    own = job.spec.tracking
    uri = (own and own.uri) or settings.tracking_uri
    if not uri:
        return None
    return Tracking(uri, (own and own.experiment) or job.metadata.namespace)
