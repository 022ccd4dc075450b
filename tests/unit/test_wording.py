"""Refusals of children name the fields of the custom resource, and `kubectl get` has their reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kubetune.common.wording import explain_refusal, in_our_words
from kubetune.kube.errors import ApiError
from kubetune.runtime.refusal import refuse_by_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ('Job.batch "x" is invalid: spec.template.spec.nodeSelector: Invalid value: "a b"', "spec.nodeSelector: Inv"),
        ("spec.template.spec.tolerations[0].key: Invalid value", "spec.tolerations[0].key: Invalid value"),
        ("spec.template.spec.runtimeClassName: Invalid value", "spec.runtimeClassName: Invalid value"),
        ("spec.template.spec.containers[0].resources.requests[memory]: Invalid", "spec.resources.memory: Invalid"),
        ("spec.template.spec.initContainers[0].resources.limits[cpu]: Invalid", "spec.resources.cpu: Invalid"),
        ("spec.template.spec.containers[0].resources.limits[a.b/c]: Inv", "spec.resources.gpuResourceName: Inv"),
        ("spec.template.spec.containers[0].resources.requests: Invalid", "spec.resources: Invalid"),
        ("spec.containers[0].resources.requests[memory]: Invalid", "spec.resources.memory: Invalid"),
        ("spec.template.spec.containers[0].env[2].valueFrom.secretKeyRef.name: Inv", "spec.credentials: Inv"),
        ("spec.template.spec.volumes[3].configMap.name: Invalid", "the ConfigMap of a configmap:// URI: Invalid"),
        ("metadata.labels: Invalid value", "spec.queueName: Invalid value"),
        ("exceeded quota: q, requested: cpu=1", "exceeded quota: q, requested: cpu=1"),
    ],
)
def test_fields_are_ours(said: str, ours: str) -> None:
    text = in_our_words(said)
    assert text.startswith(ours)
    assert "template" not in text


@pytest.mark.parametrize(
    ("demanded", "advice"),
    [
        ("limits.cpu for: train", "Set spec.resources.cpuLimit, or give the namespace a LimitRange with a default."),
        (
            "limits.cpu for: prepare,train; requests.ephemeral-storage for: train",
            "Set spec.resources.cpuLimit and spec.resources.scratch, or give the namespace a LimitRange with a "
            "default.",
        ),
        ("limits.example.com/x for: train", "must specify limits.example.com/x for: train."),
    ],
)
def test_what_a_quota_demands_is_told_by_our_fields(demanded: str, advice: str) -> None:
    said = f'Error creating: pods "x-abc" is forbidden: failed quota: small: must specify {demanded}'
    assert explain_refusal(said).endswith(advice)


@pytest.mark.parametrize(
    ("kind", "summary", "status"), [("FineTuneJob", "Succeeded", "Unknown"), ("ModelDeployment", "Ready", "False")]
)
def test_the_reason_is_in_the_columns(kind: str, summary: str, status: str) -> None:
    raw = {"kind": kind, "metadata": {"name": "x", "generation": 2}}
    error = ApiError(422, "Invalid", 'Job.batch "x-train" is invalid: spec.template.spec.nodeSelector: Invalid value')
    conditions = {one["type"]: one for one in refuse_by_server(raw, error, NOW).status["conditions"]}
    assert (conditions[summary]["status"], conditions[summary]["reason"]) == (status, "InvalidSpec")
    assert "spec.nodeSelector" in conditions[summary]["message"]
    assert conditions["Accepted"]["status"] == "False"
