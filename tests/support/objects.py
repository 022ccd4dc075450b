"""Small builders of custom resources and of what workloads say."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]


def store_secret(name: str = "kubetune-object-store") -> Object:
    """The Secret with the object store's keys, by the operator's default name; no pod reads it here."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}


def finetunejob(name: str = "demo", namespace: str = "default", **spec: Any) -> Object:
    """A valid FineTuneJob without a preflight; keywords replace members of its spec."""
    base: Object = {
        "baseModel": {"uri": "s3://models/tiny"},
        "dataset": {"uri": "s3://data/train.jsonl"},
        "preflight": {"fit": "Skip"},
    }
    return {
        "apiVersion": "kubetune.io/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": base | spec,
    }


EVALUATION: Object = {
    "dataset": {"uri": "s3://data/test.jsonl"},
    "metrics": ["exactMatch"],
    "gate": {"metric": "exactMatch"},
}
"""A ``spec.evaluation``."""


def train_summary(**members: Any) -> str:
    """A trainer's termination message on success."""
    artifact = {"uri": "s3://kubetune/x/adapter", "kind": "adapter", "manifestSha256": "ab" * 32, "bytes": 1234}
    summary: Object = {
        "schema": 1,
        "artifact": artifact,
        "steps": 50,
        "trainRows": 100,
        "validationRows": 10,
        "durationSeconds": 12.5,
        "trainLoss": 1.25,
        "mlflowRunId": "run-1",
    }
    return json.dumps(summary | members)


def found_summary(**members: Any) -> str:
    """What preflight or trainer leave when the result is in the store already."""
    settings = {"reason": "100 rows: 4 epochs", "numTrainEpochs": 4.0}
    found = {"at": 1_750_000_000.0, "uid": "earlier-uid", "settings": settings}
    return train_summary(**{"runSha256": "34" * 32, "found": found} | members)


def preflight_summary(**members: Any) -> str:
    """A preflight's termination message on success."""
    summary: Object = {
        "schema": 1,
        "fit": "Fits",
        "fitMessage": "Needs 7.1 of 12.0 GiB.",
        "trainRows": 100,
        "validationRows": 10,
        "datasetSha256": "ef" * 32,
        "steps": 50,
        "tokensPerEpoch": 12_345,
        "tokenLengths": {"p50": 80, "p90": 200, "p99": 400, "max": 512},
        "histogram": {"64": 10, "128": 50, "512": 40},
    }
    return json.dumps(summary | members)


def failure_summary(code: int, reason: str, message: str) -> str:
    """A workload's termination message on a failure it understood."""
    return json.dumps({"schema": 1, "reason": reason, "message": message, "exitCode": code})
