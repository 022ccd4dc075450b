"""What an Evaluation asks of the cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubetune.evaluation.api import Evaluation
from kubetune.evaluation.resources import Models, build, eval_config, measured_candidate, resolve_models, used_uris
from kubetune.finetunejob.api import FineTuneJob
from kubetune.lineage import Obstacle, Unresolved
from kubetune.settings import Settings
from kubetune.workload.pod import CONFIG_ANNOTATION
from kubetune_contract import EvalConfig, ModelRef, from_json, to_json
from tests.support.golden import assert_golden
from tests.support.models import ARTIFACT, BASE, evaluation, failed_job, finished_job, running_job

SETTINGS = Settings(
    evaluator_image="registry.example/evaluator:1",
    store_endpoint="http://store.kubetune.svc:7070",
    runtime_class="nvidia",
)


def models_of(obj: Evaluation, *jobs: FineTuneJob) -> Models:
    models = resolve_models(obj, {job.metadata.name: job for job in jobs})
    assert isinstance(models, Models)
    return models


def full() -> Evaluation:
    return evaluation(
        baselines=[
            {"name": "base", "uri": BASE},
            {"name": "before", "fineTuneJobRef": {"name": "older"}},
            {"name": "local", "uri": "pvc://weights/llama", "adapterUri": "pvc://weights/adapter"},
        ],
        dataset={
            "uri": "configmap://items/test.jsonl",
            "format": "promptCompletion",
            "columns": {"prompt": "question", "group": "document"},
            "missing": "Drop",
        },
        generation={"maxNewTokens": 32, "batchSize": 4, "stop": ["\n"]},
        gate={"metric": "exactMatch", "margin": 0.05, "alpha": 0.01, "rule": "superior"},
        limit=200,
        seed=7,
        output={"uri": "s3://results/evals/"},
        credentials={"objectStoreSecret": "mine"},
        resources={"gpu": 1, "cpu": "2", "memory": "8Gi"},
        nodeSelector={"kubernetes.io/hostname": "workstation"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        activeDeadlineSeconds=3600,
        backoffLimit=1,
    )


def test_configuration_of_every_field() -> None:
    older = finished_job("older", artifact="s3://kubetune/older/model", kind="model")
    config = eval_config(full(), models_of(full(), finished_job(), older), SETTINGS)
    assert_golden("evaluation-config", to_json(config))


def test_job_of_every_field() -> None:
    older = finished_job("older", artifact="s3://kubetune/older/model", kind="model")
    job = build(full(), models_of(full(), finished_job(), older), SETTINGS)
    assert_golden("evaluation-job", job)


def test_the_smallest_spec_compares_with_the_job_s_base() -> None:
    config = eval_config(evaluation(), models_of(evaluation(), finished_job()), Settings())
    assert config.candidate == ModelRef("candidate", BASE, ARTIFACT)
    assert config.baselines == (ModelRef("base", BASE),)
    assert config.output == "s3://kubetune/evaluations/team/demo/evaluation-demo"
    assert config.store.endpoint is None


def test_a_full_model_stands_alone() -> None:
    job = finished_job(artifact="s3://kubetune/x/model", kind="model")
    assert models_of(evaluation(), job).candidate == ModelRef("candidate", "s3://kubetune/x/model")


def test_a_candidate_by_uri_needs_no_job() -> None:
    obj = evaluation(
        candidate={"uri": "s3://abc/model/", "adapterUri": "s3://abc/adapter"},
        baselines=[{"name": "b", "uri": "s3://abc/b"}],
    )
    assert models_of(obj).candidate == ModelRef("candidate", "s3://abc/model", "s3://abc/adapter")


def test_the_pod_carries_the_configuration_it_runs_by() -> None:
    obj = evaluation()
    job = build(obj, models_of(obj, finished_job()), SETTINGS)
    text = job["spec"]["template"]["metadata"]["annotations"][CONFIG_ANNOTATION]
    assert from_json(EvalConfig, json.loads(text)) == eval_config(obj, models_of(obj, finished_job()), SETTINGS)
    assert measured_candidate(job) == ModelRef("candidate", BASE, ARTIFACT)


@pytest.mark.parametrize("annotations", [{}, {CONFIG_ANNOTATION: "{"}, {CONFIG_ANNOTATION: "{}"}])
def test_a_job_without_a_readable_configuration_measured_nothing_known(annotations: dict[str, Any]) -> None:
    assert measured_candidate({"spec": {"template": {"metadata": {"annotations": annotations}}}}) is None


@pytest.mark.parametrize(
    ("job", "obstacle"),
    [(None, Obstacle.NOT_FOUND), (running_job(), Obstacle.NOT_FINISHED), (failed_job(), Obstacle.FAILED)],
)
def test_what_a_job_may_lack(job: FineTuneJob | None, obstacle: Obstacle) -> None:
    answer = resolve_models(evaluation(), {"demo": job})
    assert isinstance(answer, Unresolved)
    assert answer.obstacle is obstacle
    assert "'demo'" in answer.message


def test_a_baseline_that_is_not_ready_holds_everything() -> None:
    obj = evaluation(baselines=[{"name": "before", "fineTuneJobRef": {"name": "older"}}])
    answer = resolve_models(obj, {"demo": finished_job(), "older": running_job("older")})
    assert isinstance(answer, Unresolved)
    assert "'older'" in answer.message


def test_uris_that_are_read() -> None:
    obj = evaluation()
    assert used_uris(obj, None) == ("s3://data/test.jsonl",)
    assert used_uris(obj, models_of(obj, finished_job())) == (BASE, ARTIFACT, BASE, "s3://data/test.jsonl")
