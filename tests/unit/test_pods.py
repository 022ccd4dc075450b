"""What every pod of a workload has, whichever kind it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kubetune.evaluation import resources as evaluator
from kubetune.finetunejob.api.from_contract import preflight_status
from kubetune.finetunejob.job.checks import all_secrets, check_tracking
from kubetune.finetunejob.job.resources import build_preflight_job, build_train_job
from kubetune.lineage import Model
from kubetune.modeldeployment import resources as server
from kubetune.modeldeployment.ledger import Release
from kubetune.settings import Settings
from kubetune_contract import PreflightSummary, from_json
from tests.support.models import ARTIFACT, BASE, MANIFEST, deployment, evaluation, finished_job
from tests.support.objects import preflight_summary

Object = dict[str, Any]


def _evaluate(settings: Settings) -> Object:
    obj = evaluation()
    models = evaluator.resolve_models(obj, {"demo": finished_job()})
    assert isinstance(models, evaluator.Models)
    template: Object = evaluator.build(obj, models, settings)["spec"]["template"]
    return template


def _serve(settings: Settings) -> Object:
    release = Release(Model(BASE, ARTIFACT, MANIFEST), job="demo", evaluation="demo")
    return server.pods_of(deployment(), release, settings)


TEMPLATES: dict[str, Callable[[Settings], Object]] = {
    "train": lambda settings: build_train_job(finished_job(), settings)["spec"]["template"],
    "preflight": lambda settings: build_preflight_job(finished_job(), settings)["spec"]["template"],
    "evaluate": _evaluate,
    "serve": _serve,
}
each_pod = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())


@pytest.mark.law("F15")
@each_pod
def test_images_are_pulled_with_the_charts_secrets(template: Callable[[Settings], Object]) -> None:
    told = Settings.from_env({"KUBETUNE_IMAGE_PULL_SECRETS": "mirror, other"})
    assert template(told)["spec"]["imagePullSecrets"] == [{"name": "mirror"}, {"name": "other"}]
    assert "imagePullSecrets" not in template(Settings())["spec"], "pods of an installation without any stay the same"


DISK = "ephemeral-storage"


def _disk(template: Object) -> list[tuple[str | None, str | None]]:
    """Requested and limited, of every container."""
    spec = template["spec"]
    every = [one["resources"] for one in (*spec.get("initContainers", ()), *spec["containers"])]
    return [(one["requests"].get(DISK), one["limits"].get(DISK)) for one in every]


def _volumes(template: Object) -> dict[str, str]:
    """Name and limit of what lies on the node's disk."""
    found = {one["name"]: one["emptyDir"] for one in template["spec"]["volumes"] if "emptyDir" in one}
    return {name: source.get("sizeLimit", "") for name, source in found.items() if source.get("medium") != "Memory"}


@pytest.mark.law("F16")
@each_pod
def test_no_pod_may_fill_its_nodes_disk(template: Callable[[Settings], Object]) -> None:
    pod = template(Settings())
    assert set(_disk(pod)) == {("1Gi", f"{(64 + 8 * 4) * 1024}Mi")}, "64Gi and eight times 4Gi of memory"
    volumes = _volumes(pod)
    assert {"work", "tmp"} <= volumes.keys()
    assert set(volumes.values()) == {f"{(64 + 8 * 4) * 1024}Mi"}


def _trained(disk_bytes: int | None = None, **spec: Any) -> Object:
    found = preflight_status(from_json(PreflightSummary, json.loads(preflight_summary())))
    figures = None if disk_bytes is None else found.model_copy(update={"disk_bytes": disk_bytes})
    template: Object = build_train_job(finished_job(**spec), Settings(), figures)["spec"]["template"]
    return template


@pytest.mark.law("F16")
def test_a_training_asks_for_what_its_preflight_found() -> None:
    pod = _trained(10 * 2**30 + 1)
    assert set(_disk(pod)) == {("10241Mi", f"{21 * 1024 + 1}Mi")}, "rounded up; the limit is twice that and 1Gi"
    assert _volumes(pod) == {"work": "21505Mi", "tmp": "21505Mi"}


@pytest.mark.law("F16")
def test_the_spec_has_the_last_word() -> None:
    pod = _trained(10 * 2**30, resources={"scratch": "200G"})
    assert set(_disk(pod)) == {("200G", "200G")}
    assert set(_volumes(pod).values()) == {"200G"}


def test_kueue_is_asked_only_for_what_the_spec_says() -> None:
    """It admits nothing that asks for a resource its queue does not name."""
    pod = _trained(2**30, queueName="gpus")
    assert set(_disk(pod)) == {(None, None)}
    assert set(_volumes(pod).values()) == {"3072Mi"}
    assert set(_disk(_trained(queueName="gpus", resources={"scratch": "5Gi"}))) == {("5Gi", "5Gi")}


def test_a_cache_on_a_claim_has_the_claims_size() -> None:
    release = Release(Model(BASE, ARTIFACT, MANIFEST), job="demo", evaluation="demo")
    kept = server.pods_of(deployment(cache={"claimName": "models"}), release, Settings())
    assert "cache" not in _volumes(kept)
    assert "cache" in _volumes(_serve(Settings()))


def _credentials(template: Object) -> dict[str, list[tuple[str, str, bool]]]:
    """Container -> MLflow's variables with their Secret, and whether that may lack them."""
    spec = template["spec"]
    return {
        one["name"]: [
            (entry["name"], entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["optional"])
            for entry in one["env"]
            if entry["name"].startswith("MLFLOW_")
        ]
        for one in (*spec.get("initContainers", ()), *spec["containers"])
    }


SERVER = Settings(tracking_uri="http://mlflow:5000", tracking_secret="tracker")
KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.mark.law("F24")
@pytest.mark.parametrize(
    ("tracking", "settings", "secret"),
    [
        (None, SERVER, "tracker"),
        ({"experiment": "x"}, SERVER, "tracker"),
        ({"secret": "mine"}, SERVER, "mine"),
        ({"uri": "http://other", "secret": "mine"}, Settings(), "mine"),
        ({"uri": "http://other"}, SERVER, None),
        (None, Settings(tracking_uri="http://mlflow:5000"), None),
    ],
    ids=["default", "default server", "own secret", "all its own", "not to another server", "none asked for"],
)
def test_mlflow_lets_the_training_in(tracking: Object | None, settings: Settings, secret: str | None) -> None:
    spec: Object = {"tracking": tracking} if tracking else {}
    job = finished_job(**spec)
    expected = [(key, secret, True) for key in KEYS] if secret else []
    for build in (build_train_job, build_preflight_job):
        found = _credentials(build(job, settings)["spec"]["template"])
        assert set(map(tuple, found.values())) == {tuple(expected)}
    needed = [use for use in all_secrets(job, settings) if use.field == "spec.tracking.secret"]
    assert [use.name for use in needed] == ([secret] if secret else []), "looked for before a pod waits for it"


@pytest.mark.law("F24")
def test_others_are_given_no_key_to_mlflow() -> None:
    for template in (_evaluate(SERVER), _serve(SERVER)):
        assert not any(_credentials(template).values())


@pytest.mark.law("F24")
def test_a_key_to_no_server_is_refused() -> None:
    problem = check_tracking(finished_job(tracking={"secret": "mine"}), Settings())
    assert problem is not None
    assert problem.message.startswith("spec.tracking.secret needs an MLflow server")


@each_pod
def test_no_cpu_limit_unless_it_is_asked_for(template: Callable[[Settings], Object]) -> None:
    spec = template(Settings())["spec"]
    assert not any(
        "cpu" in one["resources"]["limits"] for one in (*spec.get("initContainers", ()), *spec["containers"])
    )


@pytest.mark.law("F28")
@pytest.mark.parametrize("build", [build_train_job, build_preflight_job])
def test_a_cpu_limit_is_every_containers_and_above_its_request(build: Callable[..., Object]) -> None:
    """A ResourceQuota with limits.cpu refuses a pod of which one container has none."""
    job = finished_job(resources={"cpu": "50m", "cpuLimit": "50m"})
    spec = build(job, Settings())["spec"]["template"]["spec"]
    for one in (*spec.get("initContainers", ()), *spec["containers"]):
        assert (one["resources"]["requests"]["cpu"], one["resources"]["limits"]["cpu"]) == ("50m", "50m"), one["name"]
