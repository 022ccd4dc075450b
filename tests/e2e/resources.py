"""Custom resources for the end-to-end tests: the small model and its data with a small budget. Pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
API = "kubetune.io/v1alpha1"


def resource(kind: str, name: str, spec: Object) -> Object:
    """An object of one of our kinds."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def fine_tune_job(name: str, prefix: str, steps: int, **more: Any) -> Object:
    """A LoRA run of ``steps`` steps on the data below ``prefix``; ``more`` replaces members of the spec."""
    spec = {
        "baseModel": {"uri": f"{prefix}/base"},
        "dataset": {"uri": f"{prefix}/data/train.jsonl"},
        "hyperparameters": {
            "maxSteps": steps,
            "learningRate": 1e-3,
            "perDeviceTrainBatchSize": 8,
            "gradientAccumulationSteps": 1,
            "maxSequenceLength": 320,
            "loggingSteps": 5,
        },
        "resources": {"cpu": "500m", "memory": "3Gi"},
    }
    return resource("FineTuneJob", name, spec | more)


def evaluation_template(prefix: str, limit: int) -> Object:
    """What a FineTuneJob's ``evaluation`` holds."""
    return {
        "dataset": {"uri": f"{prefix}/data/test.jsonl"},
        "metrics": ["exactMatch", "tokenF1"],
        "generation": {"maxNewTokens": 8, "batchSize": 16},
        "limit": limit,
        "gate": {"metric": "exactMatch"},
    }


def deployment(name: str, model: Object, evaluation: str | None) -> Object:
    """A ModelDeployment of ``model``, behind ``evaluation``'s verdict when one is named."""
    spec: Object = {
        "model": model,
        "engine": {"maxModelLen": 512, "maxNumSeqs": 4},
        "resources": {"cpu": "500m", "memory": "5Gi"},
        "drainSeconds": 5,
    }
    if evaluation:
        spec["requireVerdict"] = {"evaluationRef": {"name": evaluation}}
    return resource("ModelDeployment", name, spec)
