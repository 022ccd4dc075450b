"""The real API server refuses, with our message, whatever the CRDs forbid, and takes what they allow."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes.client
import pytest
from kubernetes.client.exceptions import ApiException

from kubetune.common.meta import GROUP, VERSION, Resource
from kubetune.crdgen import KINDS
from tests.integration.crd_cases import IMMUTABLE, Case, limit_cases, rule_cases
from tests.integration.crd_objects import VALID, Object
from tests.integration.crd_walk import places

PLURALS = {model.info.kind: model.info.plural for model in KINDS}
CASES = [case for model in KINDS for case in (*rule_cases(model), *limit_cases(model))]
kinds = pytest.mark.parametrize("model", KINDS, ids=lambda model: model.info.kind)

_HINT = "(only suspend can); create another object instead"

Create = Callable[[Object], Any]


@pytest.fixture(scope="module")
def namespace(api: kubernetes.client.ApiClient) -> Iterator[str]:
    core = kubernetes.client.CoreV1Api(api)
    body = kubernetes.client.V1Namespace(metadata=kubernetes.client.V1ObjectMeta(generate_name="cel-"))
    created: Any = core.create_namespace(body)
    name: str = created.metadata.name
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def create(api: kubernetes.client.ApiClient, namespace: str) -> Create:
    """Sends an object through admission without storing it."""
    objects = kubernetes.client.CustomObjectsApi(api)

    def create(obj: Object) -> Any:
        return objects.create_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURALS[obj["kind"]], obj, dry_run="All", field_validation="Strict"
        )

    return create


def _causes(error: ApiException) -> list[tuple[str, str]]:
    """(field, message) of every reason the API server gives."""
    assert error.status == 422, error.body
    causes = json.loads(error.body or "")["details"]["causes"]
    return [(cause.get("field", ""), cause["message"]) for cause in causes]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_limit(create: Create, case: Case) -> None:
    with pytest.raises(ApiException) as refused:
        create(case.bad)
    causes = _causes(refused.value)
    assert any(field.startswith(case.field) and case.message in message for field, message in causes), causes
    create(case.good)


@kinds
def test_every_field_is_set_by_a_valid_object(model: type[Resource]) -> None:
    for place in places(model):
        assert place.base()


@pytest.mark.parametrize("obj", [obj for pair in VALID.values() for obj in pair], ids=lambda obj: str(obj["kind"]))
def test_valid_objects_are_stored_whole(create: Create, obj: Object) -> None:
    _assert_contains(create(obj)["spec"], obj["spec"])


def _assert_contains(stored: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            _assert_contains(stored[key], value)
    else:
        assert stored == wanted


@kinds
def test_defaults_are_those_of_the_models(create: Create, model: type[Resource]) -> None:
    obj = copy.deepcopy(VALID[model.info.kind][1])
    stored = create(obj)
    assert model.parse(stored).model_copy(update={"metadata": None}) == model.parse(obj).model_copy(
        update={"metadata": None}
    )
    assert model.parse(obj).to_dict()["spec"].keys() - stored["spec"].keys() == set()


def _immutable_fields(model: type[Resource]) -> Iterator[str]:
    for place in places(model):
        for rule in place.schema.get("x-kubernetes-validations", []):
            if IMMUTABLE in rule["message"]:
                yield rule["fieldPath"].lstrip(".")


@kinds
def test_a_started_job_keeps_its_spec(api: kubernetes.client.ApiClient, namespace: str, model: type[Resource]) -> None:
    objects = kubernetes.client.CustomObjectsApi(api)
    plural = model.info.plural
    before, other = copy.deepcopy(VALID[model.info.kind])
    stored: Any = objects.create_namespaced_custom_object(GROUP, VERSION, namespace, plural, before)

    def replace(**spec: Any) -> Any:
        changed = {name: value for name, value in (stored["spec"] | spec).items() if value is not None}
        return objects.replace_namespaced_custom_object(
            GROUP, VERSION, namespace, plural, "demo", stored | {"spec": changed}, dry_run="All"
        )

    fields = set(_immutable_fields(model))
    assert not fields or fields == stored["spec"].keys() - {"suspend"}, "a field is not protected"
    for field in fields:
        with pytest.raises(ApiException) as refused:
            replace(**{field: other["spec"].get(field)})
        causes = _causes(refused.value)
        assert (f"spec.{field}", f"Invalid value: {field} {IMMUTABLE} {_HINT}") in causes, field
    if fields:
        assert replace(suspend=True)["spec"]["suspend"]
    else:
        assert replace(model=other["spec"]["model"])["spec"]["model"] == other["spec"]["model"]


@kinds
def test_unknown_fields_are_refused_when_asked_to_be_strict(create: Create, model: type[Resource]) -> None:
    obj = copy.deepcopy(VALID[model.info.kind][0])
    obj["spec"]["learningrate"] = 1
    with pytest.raises(ApiException, match="unknown field"):
        create(obj)
