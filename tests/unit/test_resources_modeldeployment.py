"""What a ModelDeployment asks of the cluster, and how hand-made changes to it are seen."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubetune.lineage import Model
from kubetune.modeldeployment.api import ModelDeployment
from kubetune.modeldeployment.drift import is_in_step
from kubetune.modeldeployment.ledger import LEDGER_ANNOTATION, Ledger, Pods, Release, read_ledger
from kubetune.modeldeployment.resources import (
    PRE_STOP_SECONDS,
    base_model_name,
    build_deployment,
    build_service,
    endpoint,
    pods_of,
    recreates,
    serve_config,
    with_fresh_pods,
)
from kubetune.settings import Settings
from kubetune_contract import to_json
from tests.support.golden import assert_golden
from tests.support.models import ARTIFACT, BASE, MANIFEST, deployment

Object = dict[str, Any]

SETTINGS = Settings(
    server_image="registry.example/server:1",
    server_cpu_image="registry.example/server-cpu:1",
    store_endpoint="http://store.kubetune.svc:7070",
    runtime_class="nvidia",
)
OTHER = "s3://models/other"
RELEASE = Release(Model(BASE, ARTIFACT, MANIFEST), job="demo", evaluation="demo")
LEDGER = Ledger(RELEASE)


def full() -> ModelDeployment:
    return deployment(
        replicas=2,
        engine={
            "maxModelLen": 4096,
            "maxNumSeqs": 8,
            "gpuMemoryUtilization": 0.85,
            "dtype": "bfloat16",
            "enforceEager": True,
            "extraArgs": ["--enable-prefix-caching"],
        },
        drainSeconds=60,
        cache={"claimName": "models"},
        resources={"gpu": 1, "cpu": "4", "memory": "16Gi"},
        nodeSelector={"kubernetes.io/hostname": "workstation"},
    )


def built(obj: ModelDeployment, release: Release = RELEASE) -> Object:
    return build_deployment(obj, Ledger(with_fresh_pods(obj, release, SETTINGS)))


def test_configuration_of_every_field() -> None:
    assert_golden("modeldeployment-config", to_json(serve_config(full(), RELEASE, SETTINGS)))


def shown(obj: Object) -> Object:
    """Without the ledger, which holds the pod template once more, and the digest over it."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    return {**obj, "metadata": metadata}


def test_deployment_with_a_gpu() -> None:
    assert_golden("modeldeployment-deployment-gpu", shown(built(full())))


def test_deployment_on_the_cpu() -> None:
    assert_golden("modeldeployment-deployment-cpu", shown(built(deployment())))


def test_service() -> None:
    assert_golden("modeldeployment-service", build_service(full(), LEDGER))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, False),
        ({"resources": {"gpu": 1}}, True),
        ({"resources": {"gpu": 1}, "rollout": "RollingUpdate"}, False),
        ({"rollout": "Recreate"}, True),
    ],
)
def test_which_rollout(spec: Object, expected: bool) -> None:
    assert recreates(deployment(**spec)) is expected


def test_a_stopped_pod_has_time_to_drain() -> None:
    pod = pods_of(deployment(drainSeconds=100), RELEASE, SETTINGS)["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 100 + PRE_STOP_SECONDS


def test_the_engine_has_no_keys() -> None:
    pod = pods_of(full(), RELEASE, SETTINGS)["spec"]
    names = [{entry["name"] for entry in part[0]["env"]} for part in (pod["initContainers"], pod["containers"])]
    assert "AWS_SECRET_ACCESS_KEY" in names[0]
    assert "AWS_SECRET_ACCESS_KEY" not in names[1]


def test_names_for_clients() -> None:
    assert endpoint(deployment(), SETTINGS) == "http://demo.team.svc.cluster.local:8000/v1"
    assert base_model_name(deployment(), RELEASE) == "demo-base"
    assert base_model_name(deployment(), Release(Model(BASE))) is None


def test_only_the_model_makes_the_version() -> None:
    assert RELEASE.version == Release(RELEASE.model, job="other", loaded=True).version
    others = (Model(BASE), Model(BASE, ARTIFACT), Model(BASE, ARTIFACT, "f" * 64), Model(OTHER, ARTIFACT, MANIFEST))
    assert len({Release(model).version for model in (*others, RELEASE.model)}) == 5


def test_any_change_of_the_pods_makes_another_template() -> None:
    def made(**spec: Any) -> Pods:
        pods = with_fresh_pods(deployment(**spec), RELEASE, SETTINGS).pods
        assert pods is not None
        return pods

    assert made() == made(replicas=3, rollout="Recreate", requireVerdict={"evaluationRef": {"name": "x"}})
    changed = made(engine={"maxModelLen": 8}), made(drainSeconds=1), made(resources={"cpu": "2"})
    assert len({pods.digest for pods in (made(), *changed)}) == 4
    revised = made(revision="2")
    assert len({pods.asked for pods in (made(), revised, *changed)}) == 5
    assert revised.digest == made().digest, "nothing but a reason to make them anew"


def test_the_ledger_is_read_back_from_any_child() -> None:
    ledger = Ledger(with_fresh_pods(deployment(), RELEASE, SETTINGS))
    deployed, service = built(deployment()), build_service(deployment(), ledger)
    assert read_ledger(deployed, None) == read_ledger(None, service) == ledger
    assert read_ledger(None, None) is None
    deployed["metadata"]["annotations"][LEDGER_ANNOTATION] = "{broken"
    assert read_ledger(deployed, service) == ledger


def _as_stored(obj: Object) -> Object:
    """With the defaults an API server adds."""
    live = copy.deepcopy(obj)
    live["metadata"] |= {"uid": "x", "generation": 3}
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["resources"]["requests"]["cpu"] = "1000m"
    container["startupProbe"]["successThreshold"] = 1
    live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    return live


def test_defaults_of_the_api_server_are_no_drift() -> None:
    obj = built(full())
    assert is_in_step(obj, _as_stored(obj))
    assert not is_in_step(obj, None)


def _scaled(live: Object) -> None:
    live["spec"]["replicas"] = 5


def _other_image(live: Object) -> None:
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"


def _more_containers(live: Object) -> None:
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})


def _no_ledger(live: Object) -> None:
    del live["metadata"]["annotations"][LEDGER_ANNOTATION]


@pytest.mark.parametrize("change", [_scaled, _other_image, _more_containers, _no_ledger])
def test_hand_made_changes_are_drift(change: Any) -> None:
    obj = built(full())
    live = _as_stored(obj)
    change(live)
    assert not is_in_step(obj, live)
