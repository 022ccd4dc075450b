"""What every pod of a workload has, whichever kind it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubetune.evaluation import resources as evaluator
from kubetune.finetunejob.job.resources import build_preflight_job, build_train_job
from kubetune.lineage import Model
from kubetune.modeldeployment import resources as server
from kubetune.settings import Settings
from tests.support.models import ARTIFACT, BASE, MANIFEST, deployment, evaluation, finished_job

Object = dict[str, Any]


def _evaluate(settings: Settings) -> Object:
    obj = evaluation()
    models = evaluator.resolve_models(obj, {"demo": finished_job()})
    assert isinstance(models, evaluator.Models)
    return evaluator.build(obj, models, settings)["spec"]["template"]


def _serve(settings: Settings) -> Object:
    release = server.Release(Model(BASE, ARTIFACT, MANIFEST), job="demo", evaluation="demo")
    return server.pods_of(deployment(), release, settings)


TEMPLATES: dict[str, Callable[[Settings], Object]] = {
    "train": lambda settings: build_train_job(finished_job(), settings)["spec"]["template"],
    "preflight": lambda settings: build_preflight_job(finished_job(), settings)["spec"]["template"],
    "evaluate": _evaluate,
    "serve": _serve,
}
each_pod = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())


@each_pod
def test_images_are_pulled_with_the_charts_secrets(template: Callable[[Settings], Object]) -> None:
    told = Settings.from_env({"KUBETUNE_IMAGE_PULL_SECRETS": "mirror, other"})
    assert template(told)["spec"]["imagePullSecrets"] == [{"name": "mirror"}, {"name": "other"}]
    assert "imagePullSecrets" not in template(Settings())["spec"], "pods of an installation without any stay the same"
