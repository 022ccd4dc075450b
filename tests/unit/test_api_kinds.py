"""The three kinds: parsing, defaults, agreement with the contract of the images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from kubetune.common import measurement
from kubetune.common.meta import API_VERSION, Resource
from kubetune.common.model import ApiModel
from kubetune.crdgen import KINDS
from kubetune.evaluation import api as evaluation
from kubetune.finetunejob import api as training
from kubetune.modeldeployment import api as modeldeployment
from kubetune_contract import evaluate, serve, train
from kubetune_server import serve_args

EXAMPLES = sorted((Path(__file__).parents[2] / "manifests/examples").rglob("*.yaml"))
OURS: dict[str, type[Resource]] = {kind.info.kind: kind for kind in KINDS}


def _job(**spec: Any) -> training.FineTuneJob:
    base = {"baseModel": {"uri": "s3://models/tiny"}, "dataset": {"uri": "s3://data/train.jsonl"}}
    return training.FineTuneJob.parse({"metadata": {"name": "demo"}, "spec": base | spec})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (measurement.Generation, evaluate.Generation),
        (measurement.Gate, evaluate.Gate),
        (evaluation.MetricResult, evaluate.MetricResult),
        (modeldeployment.Engine, serve.Engine),
    ],
)
def test_members_and_defaults_agree_with_the_contract(ours: type[ApiModel], theirs: Any) -> None:
    contract = {field.name: field.default for field in dataclasses.fields(theirs)}
    api = {name: field.default for name, field in ours.model_fields.items()}
    assert contract.keys() == api.keys()
    for name, default in contract.items():
        if default is not dataclasses.MISSING:
            assert api[name] == default, name


@pytest.mark.parametrize(
    ("ours", "theirs"), [(training.Hyperparameters, train.Hyperparameters), (training.Lora, train.Lora)]
)
def test_members_under_presets_have_no_default_but_name_that_of_the_contract(ours: type[ApiModel], theirs: Any) -> None:
    contract = {field.name: getattr(theirs(), field.name) for field in dataclasses.fields(theirs)}
    assert contract.keys() == ours.model_fields.keys()
    for name, field in ours.model_fields.items():
        assert field.default is None, name
        text = " ".join((field.description or "").split())
        wanted = "Unset: " if contract[name] is None else f"Default {_spelled(contract[name])}"
        assert wanted in text, f"{name}: the description must say {wanted!r}"


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # 2e-4, as people write it.
        return f"{value:g}" if value >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def test_admission_refuses_the_arguments_that_the_server_would_refuse() -> None:
    assert set(modeldeployment.MANAGED_ARGUMENTS) == serve_args.RESERVED.keys()


def test_unknown_fields_are_ignored() -> None:
    assert _job(fromTheFuture=1).spec.method == "lora"


def test_a_parsed_object_survives_a_round_trip() -> None:
    job = _job(method="qlora", lora={"rank": 8}, resources={"gpu": 1, "cpu": 4})
    assert training.FineTuneJob.parse(job.to_dict()) == job
    assert job.to_dict()["spec"]["lora"]["rank"] == 8


@pytest.mark.parametrize(
    "spec",
    [
        {"method": "dora"},
        {"lora": {"rank": 0}},
        {"hyperparameters": {"learningRate": -1}},
        {"dataset": {"uri": "s3://a/b", "validationShare": 0.6}},
    ],
)
def test_what_the_schema_refuses_is_refused_here_too(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _job(**spec)


def test_digests_keep_their_capitals() -> None:
    artifact = training.ArtifactStatus(uri="s3://a/b", kind="adapter", manifest_sha256="0" * 64, bytes=1)
    assert "manifestSHA256" in artifact.to_dict()
    assert "mlflowRunID" in training.FineTuneJobStatus(mlflow_run_id="x").to_dict()


def test_owner_reference_makes_children_go_with_the_object() -> None:
    assert _job().owner_reference() == {
        "apiVersion": API_VERSION,
        "kind": "FineTuneJob",
        "name": "demo",
        "uid": "",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_parse(path: Path) -> None:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert documents
    for document in documents:
        if document["apiVersion"] == API_VERSION:
            parsed = OURS[document["kind"]].parse(document)
            assert _members(document["spec"]) <= _members(parsed.to_dict()["spec"]), "a field is unknown"


def _members(node: Any, prefix: str = "") -> set[str]:
    if isinstance(node, dict):
        return {name for key, value in node.items() for name in {f"{prefix}{key}"} | _members(value, f"{prefix}{key}.")}
    if isinstance(node, list):
        return {name for value in node for name in _members(value, f"{prefix}[].")}
    return set()
