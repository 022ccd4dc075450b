"""Bad custom resources are refused at once, or told in the status, with the field that is at fault.

``KUBETUNE_BAD_RESOURCES`` names a further file of the form of bad_resources.yaml.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api, ApiError
from tests.support.bad_resources import Bad, made, read, variant
from tests.support.bad_variants import BAD, VALID
from tests.support.kube import Kube, wait_for
from tests.support.nodes import gpu_node, present
from tests.support.objects import store_secret
from tests.support.points import Record

Object = dict[str, Any]

FILES = (Path(__file__).with_name("bad_resources.yaml"), os.environ.get("KUBETUNE_BAD_RESOURCES"))
CASES = [case for file in FILES if file for case in read(Path(file))]
BARE = "badcr-bare"
"""The namespace without a Secret, as the manifests name it."""


def _name(case: Bad) -> str:
    return case.name


def _dry_run(kube: Kube, manifest: Object) -> str | None:
    """What the API server says against it; None when it takes it."""
    path = f"{kube.path(manifest['kind'].lower())}?dryRun=All&fieldValidation=Strict"
    placed = manifest | {"metadata": {**manifest["metadata"], "namespace": kube.namespace}}
    try:
        kube.api.request("POST", path, placed)
    except ApiError as error:
        if error.status != 422:
            raise
        message: str = json.loads(str(error).split(" 422 ", 1)[1])["message"]
        return message
    return None


@pytest.mark.law("L5", "F4")
@pytest.mark.parametrize("case", [case for case in CASES if case.where == "apply"], ids=_name)
def test_is_refused(kube: Kube, case: Bad, record_property: Record) -> None:
    said = _dry_run(kube, case.manifest)
    assert said, "it was taken"
    assert [word for word in case.words if word not in said] == [], said
    record_property("point", f"bad resource {case.name}: refused, names {', '.join(case.words)}")


@pytest.mark.parametrize("short", ["ftj", "evl", "mdep"])
def test_variants_are_refused(kube: Kube, short: str, record_property: Record) -> None:
    """One after another, because there are hundreds; all that were taken or told badly are named."""
    wrong = []
    cases = [case for case in BAD if case[0] == short]
    for _, field, value, words in cases:
        said = _dry_run(kube, made(short, field, value))
        if said is None or any(word not in said for word in words):
            wrong.append((field, value, words, said))
    assert not wrong
    record_property("point", f"bad resources: {len(cases)} variants of {short} refused with their field")


def test_odd_but_right_ones_are_taken(kube: Kube, record_property: Record) -> None:
    refused = [(case, said) for case in VALID if (said := _dry_run(kube, made(*case)))]
    assert not refused
    record_property("point", f"odd but valid resources: {len(VALID)} taken")


def _furnish(kube: Kube) -> None:
    """What the manifests name, as far as it is there."""
    kube.create("configmap", {"metadata": {"name": "chats"}, "data": {"train.jsonl": "{}"}})
    other = {"candidate": {"uri": "s3://models/other"}, "metrics": ["exactMatch"], "gate": {"metric": "exactMatch"}}
    gateless = {"candidate": {"uri": "s3://models/base"}, "baselines": [{"name": "b", "uri": "s3://models/other"}]}
    for name, spec in (("evl-other", other), ("evl-no-gate", gateless)):
        kube.create("evaluation", variant(name, "evl", **spec).manifest)


def _told(kube: Kube, case: Bad) -> str:
    """The reason and message of the condition that says what is wrong, once there is one."""
    kind, name = case.manifest["kind"].lower(), case.manifest["metadata"]["name"]
    kube.create(kind, case.manifest)

    def look() -> str | None:
        for condition in kube.status(kind, name).get("conditions", ()):
            text = f"{condition['reason']}: {condition['message']}"
            if condition["status"] == "False" and all(word in text for word in case.words):
                return text
        return None

    return wait_for(look, 60, lambda: f"{name}: {json.dumps(kube.status(kind, name))}")


_TOKEN = {"huggingFaceSecret": "hub-token"}
STATUS = [
    *(case for case in CASES if case.where == "status"),
    variant("evaluation-claim", "ftj", "pvc://no/t", evaluation={"dataset": {"uri": "pvc://no/t"}}),
    variant(
        "evaluation-map", "ftj", "spec.evaluation.dataset.uri", evaluation={"dataset": {"uri": "configmap://no/t"}}
    ),
    variant("map-key", "ftj", "it has: train.jsonl", "spec.dataset.uri", dataset={"uri": "configmap://chats/x"}),
    variant("cpu", "ftj", "spec.resources.cpu", "4000", resources={"cpu": "4000"}),
    variant("deployment-cpu", "mdep", "spec.resources.cpu", "4000", resources={"cpu": "4000"}),
    variant("deployment-node", "mdep", "spec.nodeSelector", "nothere", nodeSelector={"room": "nothere"}),
    variant("evaluation-node", "evl", "spec.nodeSelector", "nothere", nodeSelector={"room": "nothere"}),
    variant("evaluation-memory", "evl", "spec.resources.memory", "100Ti", resources={"memory": "100Ti"}),
    variant("no-gate", "mdep", "evl-no-gate", "no gate", requireVerdict={"evaluationRef": {"name": "evl-no-gate"}}),
    variant("default-secret", "mdep", "kubetune-object-store", "create secret generic", namespace=BARE),
    variant(
        "hub-secret", "ftj", "hub-token", "HF_TOKEN", credentials=_TOKEN, evaluation={"dataset": {"uri": "hf://a/b"}}
    ),
]


@pytest.mark.walk("C1")
@pytest.mark.walk("W13")
@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(("nodes", "keys"), [(0, True), (1, True), (1, False)], ids=["no node", "node", "no keys"])
@pytest.mark.parametrize("case", STATUS, ids=_name)
def test_is_told(admin: Api, bare: Kube, case: Bad, nodes: int, keys: bool, record_property: Record) -> None:
    """There is neither kubelet nor scheduler: what nobody has, no pod needs to wait for to know."""
    if keys and case.manifest["metadata"].get("namespace") != BARE:
        bare.create("secret", store_secret())
    with present(admin, *[gpu_node(f"home-{bare.namespace}", count=0)][:nodes]):
        _furnish(bare)
        said = _told(bare, case)
    record_property("point", f"bad resource {case.name}: {said}")
