"""Rules that are new leave objects alone that were stored before them: status and suspend can still be written."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from kubetune.crdgen import crd
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from tests.cluster.api import Api, ApiError
from tests.support.bad_resources import made
from tests.support.kube import MERGE, wait_for

Object = dict[str, Any]

GROUP = "old.kubetune.io"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BEFORE = {
    "same rows": made("ftj", "evaluation", {"dataset": {"uri": "s3://data/train.jsonl"}}),
    "memory": made("ftj", "resources", {"memory": "8"}),
    "toleration": made("ftj", "tolerations", [{}]),
    "selector": made("ftj", "nodeSelector", {"gpu": "RTX 3060"}),
    "revision": made("ftj", "baseModel.uri", "hf://a/b@a..b"),
    "same model": made("evl", "candidate", {"adapterUri": None}),
    "margin": made("evl", "gate", {"metric": "exactMatch", "margin": 5}),
}
BEFORE["same model"]["spec"]["candidate"] = {"uri": "s3://models/base"}
MODELS = {"FineTuneJob": FineTuneJob, "Evaluation": Evaluation}


def _crd(kind: str, *, ruled: bool) -> Object:
    document = crd(MODELS[kind])  # type: ignore[type-abstract]
    spec = document["spec"]
    document["metadata"]["name"] = f"{spec['names']['plural']}.{GROUP}"
    spec["group"] = GROUP
    spec["names"] = {name: value for name, value in spec["names"].items() if name not in ("shortNames", "categories")}
    return document if ruled else _without_rules(document)


def _without_rules(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_rules(value) for key, value in node.items() if key != "x-kubernetes-validations"}
    return [_without_rules(one) for one in node] if isinstance(node, list) else node


@pytest.fixture
def served(admin: Api) -> Iterator[None]:
    """The kinds under a group of their own, at first without a rule."""
    for kind in MODELS:
        admin.apply(CRDS, _crd(kind, ruled=False))
    yield
    for kind in MODELS:
        admin.request("DELETE", f"{CRDS}/{_crd(kind, ruled=False)['metadata']['name']}")


def _path(obj: Object, name: str = "", tail: str = "") -> str:
    plural = MODELS[obj["kind"]].info.plural
    base = f"/apis/{GROUP}/v1alpha1/namespaces/default/{plural}"
    return "/".join(part for part in (base, name, tail) if part)


@pytest.mark.usefixtures("served")
def test_objects_from_before_the_rules_go_on(admin: Api) -> None:
    stored = {}
    for index, (what, manifest) in enumerate(BEFORE.items()):
        obj = copy.deepcopy(manifest) | {"apiVersion": f"{GROUP}/v1alpha1", "metadata": {"name": f"old-{index}"}}
        wait_for(lambda obj=obj: _create(admin, obj), 30, lambda what=what: f"{what} is not taken")
        stored[what] = obj
    for kind in MODELS:
        admin.apply(CRDS, _crd(kind, ruled=True))
    for what, obj in stored.items():
        fresh = obj | {"metadata": {"name": "fresh"}}
        wait_for(lambda fresh=fresh: _is_refused(admin, fresh), 30, lambda what=what: f"{what} is still taken")
        name = obj["metadata"]["name"]
        admin.request("PATCH", _path(obj, name, "status"), {"status": {"observedGeneration": 1}}, MERGE)
        assert admin.request("PATCH", _path(obj, name), {"spec": {"suspend": True}}, MERGE)["spec"]["suspend"], what


def _create(admin: Api, obj: Object) -> bool:
    try:
        admin.request("POST", _path(obj), obj)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _is_refused(admin: Api, obj: Object) -> bool:
    try:
        admin.request("POST", f"{_path(obj)}?dryRun=All", obj)
    except ApiError as error:
        return error.status == 422
    return False
