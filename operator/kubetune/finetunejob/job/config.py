"""The trainer's configuration: the spec in the contract's words."""

from __future__ import annotations

from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.api.spec import OutOfMemoryPolicy
from kubetune.finetunejob.api.status_types import PreflightStatus
from kubetune.settings import Settings
from kubetune.workload.secrets import TRACKING_FIELD, TRACKING_KEYS, SecretUse
from kubetune_contract import (
    Dataset,
    Export,
    Hyperparameters,
    Lora,
    ObjectStore,
    Owner,
    Recovery,
    Tracking,
    TrainConfig,
    paths,
)
from kubetune_contract.train import Accelerator, Placement

from .effective import begun_with, effective, packing_is_the_presets
from .uris import output_uri, results_uri


def build_config(job: FineTuneJob, settings: Settings, figures: PreflightStatus | None = None) -> TrainConfig:
    """The trainer's whole configuration, without secrets. ``figures`` of the preflight tell which rows it saw, and what
    their number decides. A run that has begun keeps its settings, whatever presets and defaults are now."""
    meta, spec = job.metadata, job.spec
    chosen = begun_with(job.status) or effective(spec, figures.settings if figures else None)
    return TrainConfig(
        schema=paths.SCHEMA,
        owner=Owner(meta.namespace, meta.name, meta.uid),
        base_model=spec.base_model.uri,
        dataset=_dataset(job),
        output=output_uri(job, settings),
        store=ObjectStore(settings.store_endpoint or None, settings.store_region),
        method=spec.method,
        lora=Lora(**chosen.lora.model_dump(exclude_none=True)) if chosen.lora else Lora(),
        hyperparameters=Hyperparameters(**chosen.hyperparameters.model_dump(mode="json", exclude_none=True)),
        tracking=build_tracking(job, settings),
        gpus=spec.resources.gpu,
        recovery=_recovery(job),
        export=_export(job),
        preset=spec.preset,
        packing_optional=packing_is_the_presets(spec),
        image=settings.trainer_image,
        dataset_sha256=figures.dataset_sha256 if figures else None,
        results=results_uri(job, settings),
        rerun=spec.rerun,
    )


def build_tracking(job: FineTuneJob, settings: Settings) -> Tracking | None:
    """Where the run is recorded; None when neither the spec nor the operator names a server."""
    own, meta = job.spec.tracking, job.metadata
    uri = (own and own.uri) or settings.tracking_uri
    if not uri:
        return None
    return Tracking(
        uri,
        experiment=(own and own.experiment) or meta.namespace,
        registered_model=(own and own.registered_model) or f"{meta.namespace}.{meta.name}",
    )


def tracking_secret(job: FineTuneJob, settings: Settings) -> SecretUse | None:
    """What opens the server; the operator's default goes to the operator's default server only."""
    own = job.spec.tracking
    if own and own.secret:
        return SecretUse(own.secret, TRACKING_KEYS, TRACKING_FIELD, is_named=True)
    if settings.tracking_uri and settings.tracking_secret and not (own and own.uri):
        return SecretUse(settings.tracking_secret, TRACKING_KEYS, TRACKING_FIELD, is_named=False)
    return None


def build_placement(settings: Settings, accelerators: tuple[Accelerator, ...]) -> Placement:
    """Where the run may land and what that costs."""
    return Placement(
        accelerators=accelerators,
        currency=settings.currency,
        electricity_per_kwh=settings.electricity_per_kwh,
        cpu_watts=settings.cpu_watts,
    )


def _dataset(job: FineTuneJob) -> Dataset:
    data = job.spec.dataset
    return Dataset(
        uri=data.uri,
        format=data.format,
        columns=dict(data.columns or {}),
        validation_uri=data.validation_uri,
        validation_share=data.validation_share,
        system_prompt=data.system_prompt,
        missing=data.missing,
    )


def _recovery(job: FineTuneJob) -> Recovery:
    wanted = job.spec.recovery
    return Recovery(
        adapt_to_memory=wanted.out_of_memory is OutOfMemoryPolicy.ADAPT,
        loss_sigmas=wanted.divergence.loss_sigmas,
        patience=wanted.divergence.patience,
        rollback=wanted.divergence.rollback,
    )


def _export(job: FineTuneJob) -> Export:
    wanted = job.spec.export
    return Export(merged=wanted.merged, gguf=wanted.gguf) if wanted else Export()
