"""Builds what a FineTuneJob needs in the cluster: the Jobs of preflight and training, and the Evaluation after them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kubetune.common.labels import Component, labels
from kubetune.common.meta import API_VERSION
from kubetune.common.names import child_name
from kubetune.common.pod_options import Resources
from kubetune.common.quantity import smaller
from kubetune.finetunejob.api import FineTuneJob, PreflightStatus
from kubetune.finetunejob.api.spec import FineTuneJobSpec
from kubetune.runs.deadline import LEAST_SECONDS
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware
from kubetune.workload.job import build_job
from kubetune.workload.pod import Container, PodPlan, Volume, cpu_limit, pod_template
from kubetune.workload.scratch import scratch_of
from kubetune_contract import dumps, paths

from . import gpu_fit, stop_grace
from .config import build_config, build_placement, tracking_secret
from .effective import unset_hyperparameters
from .uris import later_uris, used_uris

Object = dict[str, Any]

INIT, MAIN, PREFLIGHT = "prepare", "train", "preflight"
"""Names of the containers."""
MODULE = "kubetune_trainer"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Hands a Job over to Kueue, which wants to find it suspended."""
SHARED_MEMORY_LIMIT = "2Gi"
PREFLIGHT_GRACE_SECONDS = 10
"""There is nothing to save."""
PREFLIGHT_CPU = "250m"
PREFLIGHT_MEMORY = "512Mi"
"""Requested; it may use as much as the training, which reads the same rows."""
PREFLIGHT_TTL_SECONDS = 3600
"""Its findings are in the status; pod and log stay this long for who wants to read on."""


def job_name(name: str) -> str:
    """Name of the training's Job of the FineTuneJob called ``name``."""
    return child_name(name, "train")


def preflight_name(name: str) -> str:
    """Name of the preflight's Job of the FineTuneJob called ``name``."""
    return child_name(name, "preflight")


def build_train_job(
    job: FineTuneJob, settings: Settings, figures: PreflightStatus | None = None, hardware: Hardware | None = None
) -> Object:
    """The Job that trains. ``figures`` of the preflight tell how long its pod may take to stop and which GPUs are too
    small for it."""
    hardware = hardware or Hardware()
    name, image = job.metadata.name, settings.trainer_image
    own_labels = labels(job.info, name, Component.TRAINER)
    ports = [{"name": "progress", "containerPort": paths.PROGRESS_PORT}]
    plan = PodPlan(
        labels=own_labels,
        config=dumps(build_config(job, settings, figures)),
        options=job.spec,
        uris=used_uris(job, settings),
        init=Container(INIT, image, MODULE, "prepare"),
        main=Container(MAIN, image, MODULE, "train", {"ports": ports}),
        grace_seconds=stop_grace.estimated(figures),
        volumes=_shared_memory(job),
        runtime_class=hardware.runtime_class,
        gpu_memory_bytes=gpu_fit.needed_memory(job, settings, figures, hardware),
        tracking_secret=_tracking_secret(job, settings),
        disk_bytes=figures.disk_bytes if figures else None,
        is_counted=job.spec.queue_name is not None,
    )
    queue = job.spec.queue_name
    metadata = _child_metadata(job, job_name(name), own_labels | ({QUEUE_LABEL: queue} if queue else {}))
    return build_job(metadata, pod_template(settings, plan), _for_the_job(job))


def _tracking_secret(job: FineTuneJob, settings: Settings) -> str:
    found = tracking_secret(job, settings)
    return found.name if found else ""


def _shared_memory(job: FineTuneJob) -> tuple[Volume, ...]:
    """NCCL's processes talk over /dev/shm, where container runtimes allow 64 MiB by default."""
    if job.spec.resources.gpu < 2:
        return ()
    return (Volume("shm", {"emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY_LIMIT}}, "/dev/shm"),)


def _for_the_job(job: FineTuneJob) -> FineTuneJobSpec:
    """What the Job is told: to wait for Kueue, and what is left of its time when it is made anew."""
    spec, used = job.spec, job.status.active_seconds or 0
    limit = spec.active_deadline_seconds
    left = None if limit is None else max(LEAST_SECONDS, limit - used)
    is_held = spec.suspend or spec.queue_name is not None
    return spec.model_copy(update={"suspend": is_held, "active_deadline_seconds": left})


def build_preflight_job(job: FineTuneJob, settings: Settings, hardware: Hardware | None = None) -> Object:
    """The Job that checks everything on the CPU, where the training may run as far as its user says."""
    own_labels = labels(job.info, job.metadata.name, Component.PREFLIGHT)
    memory = job.spec.resources.memory
    scratch = scratch_of(Resources())
    resources = {
        "requests": {
            "cpu": smaller(PREFLIGHT_CPU, job.spec.resources.cpu),
            "memory": smaller(PREFLIGHT_MEMORY, memory),
            **scratch.requests,
        },
        "limits": {**cpu_limit(job.spec.resources), "memory": memory, **scratch.limits},
    }
    # Where it may land is not the training's business: a node that came or went must not make it another run.
    accelerators = gpu_fit.candidates(job, settings, hardware or Hardware())
    config = replace(
        build_config(job, settings),
        placement=build_placement(settings, accelerators),
        unset_hyperparameters=unset_hyperparameters(job.spec),
    )
    plan = PodPlan(
        labels=own_labels,
        config=dumps(config),
        options=_without_gpu(job.spec),
        uris=used_uris(job, settings),
        init=None,
        main=Container(PREFLIGHT, settings.trainer_image, MODULE, "preflight", {"resources": resources}),
        grace_seconds=PREFLIGHT_GRACE_SECONDS,
        read_later=later_uris(job),
        tracking_secret=_tracking_secret(job, settings),
    )
    metadata = _child_metadata(job, preflight_name(job.metadata.name), own_labels)
    return build_job(metadata, pod_template(settings, plan), job.spec, ttl_seconds=PREFLIGHT_TTL_SECONDS)


def _without_gpu(spec: FineTuneJobSpec) -> FineTuneJobSpec:
    """Node selector and tolerations hold for every pod: claims and networks are where the user says. A runtime class
    given along with a GPU is the GPU's."""
    runtime_class = None if spec.resources.gpu else spec.runtime_class_name
    return spec.model_copy(update={"resources": Resources(), "runtime_class_name": runtime_class})


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
    if job.spec.dataset.system_prompt:
        # The model is asked the way it was taught.
        spec["dataset"].setdefault("systemPrompt", job.spec.dataset.system_prompt)
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
