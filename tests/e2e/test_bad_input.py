"""What the user got wrong is said in the status, in words to act on, and nothing half-done is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_shared.artifacts import fetch, publish
from kubetune_shared.store import Store
from tests.demo.kube import Kube, Object, condition, is_true

from .conftest import Installation
from .resources import deployment, evaluation_template, fine_tune_job, resource

SECONDS = 180.0
MALFORMED = b"""\
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"messages": [{"role": "user", "content": "a"},
"""


@pytest.fixture(scope="module", autouse=True)
def wrong(installation: Installation, namespace: str, store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything wrong at once: the tests only wait for what is said about it."""
    prefix = installation.prefix
    store.write(MALFORMED, f"{prefix}/e2e/malformed.jsonl")
    base, again = {"uri": f"{prefix}/base"}, {"uri": f"{prefix}/e2e/base-again"}
    copy_model(store, base["uri"], again["uri"], tmp_path_factory.mktemp("base"))
    compared = evaluation_template(prefix, 8) | {"gate": {"metric": "exactMatch", "margin": 0.1}}
    small = {"resources": {"cpu": "100m", "memory": "3Gi"}}
    installation.kube.apply(
        namespace,
        [
            fine_tune_job("malformed", prefix, 1, dataset={"uri": f"{prefix}/e2e/malformed.jsonl"}, **small),
            fine_tune_job("no-object", prefix, 1, dataset={"uri": f"{prefix}/e2e/nothing.jsonl"}, **small),
            fine_tune_job("no-bucket", prefix, 1, baseModel={"uri": "s3://no-such-bucket/base"}, **small),
            fine_tune_job("no-secret", prefix, 1, credentials={"objectStoreSecret": "missing"}, **small),
            fine_tune_job("no-gpu", prefix, 1, resources={"gpu": 1}),
            resource(
                "Evaluation", "same", {"candidate": again, "baselines": [{"name": "base", **base}], **compared, **small}
            ),
            deployment("gated", again, "same"),
        ],
    )


def copy_model(store: Store, source: str, target: str, folder: Path) -> None:
    """The same model under another URI: it gains nothing, and the API server cannot know that."""
    made = fetch(store, source, folder)
    assert made is not None
    publish(store, folder, target, kind=made.kind, meta={"config": made.config, "libraries": made.libraries})


def failed(kube: Kube, namespace: str, name: str) -> Object:
    """The failure of a FineTuneJob, once it has failed."""

    def look() -> Object | None:
        status = (kube.get(namespace, "finetunejob", name) or {}).get("status", {})
        return status if status.get("phase") == "Failed" else None

    status: Object = kube.wait(f"{name} failed", look, SECONDS)
    assert not is_true({"status": status}, "Succeeded")
    failure: Object = status["failure"]
    return failure


def says(kube: Kube, namespace: str, kind: str, name: str, reason: str) -> Object:
    """The condition that carries ``reason``, once one does."""

    def look() -> Object | None:
        conditions = (kube.get(namespace, kind, name) or {}).get("status", {}).get("conditions", ())
        return next((found for found in conditions if found["reason"] == reason), None)

    found: Object = kube.wait(f"{name} says {reason}", look, SECONDS)
    return found


def test_malformed_row_is_named_with_its_line(kube: Kube, namespace: str) -> None:
    failure = failed(kube, namespace, "malformed")
    assert failure["reason"] == "MalformedRow"
    assert "line 3" in failure["message"]


def test_bad_data_is_not_tried_again(kube: Kube, namespace: str) -> None:
    failed(kube, namespace, "malformed")
    [pod] = kube.list(namespace, "pods", "kubetune.io/finetunejob=malformed")
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "preflight", "nothing was trained on"


def test_missing_object_is_named(kube: Kube, namespace: str) -> None:
    failure = failed(kube, namespace, "no-object")
    assert failure["reason"] == "ObjectNotFound"
    assert "nothing.jsonl" in failure["message"]


def test_missing_bucket_is_named(kube: Kube, namespace: str) -> None:
    failure = failed(kube, namespace, "no-bucket")
    assert failure["reason"] == "BucketNotFound"
    assert "no-such-bucket" in failure["message"]


def test_missing_secret_is_named_with_the_command_that_makes_it(kube: Kube, namespace: str) -> None:
    found = says(kube, namespace, "finetunejob", "no-secret", "SecretNotFound")
    assert f"kubectl -n {namespace} create secret generic missing" in found["message"]


def test_gpu_that_no_node_has_is_said_with_what_to_do(kube: Kube, namespace: str) -> None:
    found = says(kube, namespace, "finetunejob", "no-gpu", "NoNodeWithGPU")
    assert "nvidia.com/gpu" in found["message"]


def test_two_equal_models_are_inconclusive_not_no_go(kube: Kube, namespace: str) -> None:
    def look() -> Object | None:
        found = kube.get(namespace, "evaluation", "same")
        return found if is_true(found, "Succeeded") else None

    done = kube.wait("the comparison ended", look, SECONDS)
    assert done["status"]["verdict"] == "Inconclusive"
    assert done["status"]["n"] == 8


def test_deployment_without_go_stays_unadmitted(kube: Kube, namespace: str) -> None:
    says(kube, namespace, "modeldeployment", "gated", "VerdictInconclusive")
    found = kube.get(namespace, "modeldeployment", "gated")
    assert condition(found, "Admitted")["status"] == "False"
    assert kube.get(namespace, "deployment", "gated") is None


def test_schema_refuses_at_once(kube: Kube, namespace: str, installation: Installation) -> None:
    wrong = fine_tune_job("wrong", installation.prefix, 1, method="full", lora={"rank": 8})
    with pytest.raises(Exception, match="method full trains every weight and has no adapter"):
        kube.apply(namespace, [wrong])
