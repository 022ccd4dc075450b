"""Pure builders of an Evaluation's child: the evaluator's configuration and the Job around it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kubetune.common.labels import Component, labels
from kubetune.common.names import child_name
from kubetune.finetunejob.api import FineTuneJob
from kubetune.lineage import Jobs, Model, Unresolved, base_of, resolve
from kubetune.settings import Settings
from kubetune.workload.job import build_job
from kubetune.workload.pod import CONFIG_ANNOTATION, Container, PodPlan, pod_template
from kubetune.workload.secrets import SecretUse, needed_secrets
from kubetune_contract import (
    ContractError,
    Dataset,
    EvalConfig,
    Gate,
    Generation,
    ModelRef,
    ObjectStore,
    Owner,
    dumps,
    from_json,
)
from kubetune_contract.paths import PROGRESS_PORT, SCHEMA

from .api import Evaluation

Object = dict[str, Any]

PREPARE = "prepare"
EVALUATE = "evaluate"
"""The main container; its termination message is the result."""
CANDIDATE = "candidate"
BASE = "base"
"""Name of the default baseline: the base model of the candidate's FineTuneJob."""
GRACE_SECONDS = 30
"""A stopped evaluation has its last answers to store; the next pod goes on from them."""


@dataclass(frozen=True)
class Models:
    """What is measured."""

    candidate: ModelRef
    baselines: tuple[ModelRef, ...]

    def uris(self) -> tuple[str, ...]:
        """Folders the evaluator reads."""
        refs = (self.candidate, *self.baselines)
        return tuple(uri for ref in refs for uri in (ref.uri, ref.adapter_uri) if uri)


def job_name(evaluation: Evaluation) -> str:
    return child_name(evaluation.metadata.name, "evaluate")


def output_uri(evaluation: Evaluation, settings: Settings) -> str:
    """The folder of the report: the uid keeps a later Evaluation of the same name apart."""
    metadata, own = evaluation.metadata, evaluation.spec.output
    default = f"s3://{settings.store_bucket}/evaluations/{metadata.namespace}/{metadata.name}"
    return f"{(own.uri if own else default).rstrip('/')}/{metadata.uid}"


def resolve_models(evaluation: Evaluation, jobs: Jobs) -> Models | Unresolved:
    """The first choice that stands for nothing yet is the answer, if there is one."""
    candidate = resolve(evaluation.spec.candidate, jobs)
    if isinstance(candidate, Unresolved):
        return candidate
    baselines = []
    for name, baseline in _baselines(evaluation, jobs):
        if isinstance(baseline, Unresolved):
            return baseline
        baselines.append(baseline.ref(name))
    return Models(candidate.ref(CANDIDATE), tuple(baselines))


def _baselines(evaluation: Evaluation, jobs: Jobs) -> tuple[tuple[str, Model | Unresolved], ...]:
    spec = evaluation.spec
    if spec.baselines:
        return tuple((baseline.name, resolve(baseline, jobs)) for baseline in spec.baselines)
    job = jobs.get(spec.candidate.fine_tune_job_ref.name) if spec.candidate.fine_tune_job_ref else None
    # The schema refuses a candidate by uri without baselines, and an unresolved job never comes this far.
    return ((BASE, base_of(job)),) if isinstance(job, FineTuneJob) else ()


def eval_config(evaluation: Evaluation, models: Models, settings: Settings) -> EvalConfig:
    """The spec in the evaluator's words."""
    spec, metadata = evaluation.spec, evaluation.metadata
    data = spec.dataset
    dataset = Dataset(
        uri=data.uri,
        format=data.format,
        columns=dict(data.columns or {}),
        system_prompt=data.system_prompt,
        missing=data.missing,
    )
    gate = Gate(spec.gate.metric, spec.gate.margin, spec.gate.alpha, spec.gate.rule) if spec.gate else None
    return EvalConfig(
        schema=SCHEMA,
        owner=Owner(metadata.namespace, metadata.name, metadata.uid),
        candidate=models.candidate,
        baselines=models.baselines,
        dataset=dataset,
        metrics=spec.metrics,
        output=output_uri(evaluation, settings),
        store=ObjectStore(settings.store_endpoint or None, settings.store_region),
        generation=Generation(spec.generation.max_new_tokens, spec.generation.batch_size, spec.generation.stop),
        gate=gate,
        limit=spec.limit,
        seed=spec.seed,
        gpus=spec.resources.gpu,
    )


def build(evaluation: Evaluation, models: Models, settings: Settings, runtime_class: str = "") -> Object:
    """The Job that measures; complete, so that it never has to be changed but for ``suspend``. ``runtime_class`` is
    that of pods with a GPU where nobody names one."""
    config = eval_config(evaluation, models, settings)
    tags = labels(evaluation.info, evaluation.metadata.name, Component.EVALUATOR)
    image = settings.evaluator_image
    ports = [{"name": "progress", "containerPort": PROGRESS_PORT}]
    plan = PodPlan(
        labels=tags,
        config=dumps(config),
        options=evaluation.spec,
        uris=(*used_uris(evaluation, models), config.output),
        init=Container(PREPARE, image, "kubetune_evaluator", PREPARE),
        main=Container(EVALUATE, image, "kubetune_evaluator", EVALUATE, {"ports": ports}),
        grace_seconds=GRACE_SECONDS,
        runtime_class=runtime_class,
    )
    metadata = {
        "name": job_name(evaluation),
        "namespace": evaluation.metadata.namespace,
        "labels": tags,
        "ownerReferences": [evaluation.owner_reference()],
    }
    return build_job(metadata, pod_template(settings, plan), evaluation.spec)


def used_uris(evaluation: Evaluation, models: Models | None) -> tuple[str, ...]:
    """Everything that is read; before the models are known, what the spec itself names."""
    if models is not None:
        return (*models.uris(), evaluation.spec.dataset.uri)
    choices = (evaluation.spec.candidate, *(evaluation.spec.baselines or ()))
    named = tuple(uri for choice in choices for uri in (choice.uri, choice.adapter_uri) if uri)
    return (*named, evaluation.spec.dataset.uri)


def named_uris(evaluation: Evaluation) -> dict[str, str]:
    """URI -> the field that names it."""
    spec = evaluation.spec
    choices = {"spec.candidate": spec.candidate}
    choices |= {f"spec.baselines[{index}]": one for index, one in enumerate(spec.baselines or ())}
    found = {"spec.dataset.uri": spec.dataset.uri}
    found |= {f"{field}.uri": one.uri for field, one in choices.items() if one.uri}
    found |= {f"{field}.adapterUri": one.adapter_uri for field, one in choices.items() if one.adapter_uri}
    return {uri: field for field, uri in reversed(found.items())}


def all_secrets(evaluation: Evaluation, models: Models | None, settings: Settings) -> tuple[SecretUse, ...]:
    """The Secrets of its pod."""
    written = output_uri(evaluation, settings)
    return needed_secrets(settings, evaluation.spec, (*used_uris(evaluation, models), written))


def measured_candidate(job: Object) -> ModelRef | None:
    """The model the Job really measures, from the configuration it runs by; None when that cannot be read."""
    text = job["spec"]["template"]["metadata"].get("annotations", {}).get(CONFIG_ANNOTATION, "")
    try:
        return from_json(EvalConfig, json.loads(text)).candidate
    except (ContractError, ValueError):
        return None
