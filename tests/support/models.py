"""Small custom resources as the API server would return them, for tests of the kinds that refer to each other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import FineTuneJob
from kubetune.modeldeployment.api import ModelDeployment

Object = dict[str, Any]

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"
BASE = "s3://models/tiny"
ARTIFACT = "s3://kubetune/finetunejobs/team/demo/job-uid/adapter"
MANIFEST = "c" * 64


def custom(kind: str, name: str, spec: Object, status: Object | None = None, **metadata: Any) -> Object:
    """A custom resource of namespace ``team`` whose uid is made from kind and name."""
    meta = {"name": name, "namespace": "team", "uid": f"{kind.lower()}-{name}", "generation": 1, **metadata}
    obj: Object = {"apiVersion": "kubetune.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    return obj | {"status": status} if status is not None else obj


def conditions(**statuses: tuple[str, str, str]) -> list[Object]:
    """``Succeeded=("True", "Completed", "...")`` -> the list."""
    return [
        {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}
        for type_, (status, reason, message) in statuses.items()
    ]


def running_job(name: str = "demo", **spec: Any) -> FineTuneJob:
    status = {"phase": "Running", "conditions": conditions(Succeeded=("Unknown", "Running", "Pod runs."))}
    return FineTuneJob.parse(custom("FineTuneJob", name, _job_spec(spec), status))


def finished_job(name: str = "demo", artifact: str = ARTIFACT, kind: str = "adapter", **spec: Any) -> FineTuneJob:
    status = {
        "phase": "Succeeded",
        "completionTime": TIME,
        "conditions": conditions(Succeeded=("True", "Completed", "Trained.")),
        "artifact": {"uri": artifact, "kind": kind, "manifestSHA256": MANIFEST, "bytes": 1000},
    }
    return FineTuneJob.parse(custom("FineTuneJob", name, _job_spec(spec), status))


def failed_job(name: str = "demo") -> FineTuneJob:
    status = {"phase": "Failed", "conditions": conditions(Succeeded=("False", "BadData", "Line 3 is no JSON."))}
    return FineTuneJob.parse(custom("FineTuneJob", name, _job_spec({}), status))


def evaluation(name: str = "demo", status: Object | None = None, **spec: Any) -> Evaluation:
    """By default of FineTuneJob ``demo`` with a gate on exactMatch; None removes a member."""
    wanted = {
        "candidate": {"fineTuneJobRef": {"name": "demo"}},
        "dataset": {"uri": "s3://data/test.jsonl"},
        "metrics": ["exactMatch", "tokenF1"],
        "gate": {"metric": "exactMatch"},
        **spec,
    }
    present = {key: value for key, value in wanted.items() if value is not None}
    return Evaluation.parse(custom("Evaluation", name, present, status))


def judged(
    verdict: str | None = "Go", uri: str = BASE, adapter_uri: str | None = ARTIFACT, **contents: str | None
) -> Evaluation:
    """An Evaluation that has finished. Without ``contents`` (``content``, ``adapterContent``) it was measured by a
    release that did not record them."""
    status = {
        "phase": "Succeeded",
        "completionTime": TIME,
        "conditions": conditions(Succeeded=("True", "Completed", "Measured.")),
        "verdict": verdict,
        "verdictMessage": "exactMatch +0.41 [0.34, 0.48] on 200 items",
        "candidate": {"uri": uri, "adapterUri": adapter_uri, **contents},
    }
    return evaluation(status={key: value for key, value in status.items() if value is not None})


def deployment(name: str = "demo", status: Object | None = None, **spec: Any) -> ModelDeployment:
    """By default of FineTuneJob ``demo`` without a gate."""
    wanted = {"model": {"fineTuneJobRef": {"name": "demo"}}, **spec}
    return ModelDeployment.parse(custom("ModelDeployment", name, wanted, status))


def gated(name: str = "demo") -> Object:
    """``spec.requireVerdict``."""
    return {"evaluationRef": {"name": name}}


def _job_spec(spec: Object) -> Object:
    return {"baseModel": {"uri": BASE}, "dataset": {"uri": "s3://data/train.jsonl"}, **spec}
