"""Two valid objects of each kind that together set every field of its spec and differ in every field."""

from __future__ import annotations

from typing import Any

from kubetune.finetunejob.api import Hyperparameters
from tests.support.fields import unlike_default

Object = dict[str, Any]


def _object(kind: str, spec: Object) -> Object:
    return {"apiVersion": "kubetune.io/v1alpha1", "kind": kind, "metadata": {"name": "demo"}, "spec": spec}


_RESOURCES = {"gpu": 1, "cpu": "500m", "cpuLimit": "2", "memory": "8Gi", "scratch": "40Gi"}
_OTHER_RESOURCES = {
    "gpu": 2,
    "gpuMemory": "12G",
    "computeCapability": "12.0",
    "gpuResourceName": "amd.com/gpu",
    "cpu": 2,
    "cpuLimit": 3,
    "memory": "1Gi",
    "scratch": "2Gi",
}
_POD = {
    "resources": _RESOURCES,
    "nodeSelector": {"kubernetes.io/hostname": "workstation"},
    "tolerations": [
        {
            "key": "gpu",
            "operator": "Equal",
            "value": "only",
            "effect": "NoExecute",
            "tolerationSeconds": 60,
        }
    ],
    "runtimeClassName": "nvidia",
    "credentials": {"objectStoreSecret": "store", "huggingFaceSecret": "hugging-face"},
}
_OTHER_POD = {"resources": _OTHER_RESOURCES}

_JOB = {
    **_POD,
    "output": {"uri": "s3://results/here"},
    "activeDeadlineSeconds": 3600,
    "suspend": False,
    "backoffLimit": 1,
}
_OTHER_JOB = {**_OTHER_POD, "backoffLimit": 0}

_DATASET = {
    "uri": "s3://data/train.jsonl",
    "format": "promptCompletion",
    "columns": {"prompt": "question"},
    "missing": "Drop",
    "systemPrompt": "Be brief.",
}

_MEASUREMENT = {
    "dataset": {**_DATASET, "uri": "s3://data/test.jsonl"},
    "metrics": ["exactMatch", "tokenF1", "bleu"],
    "generation": {"maxNewTokens": 16, "batchSize": 4, "stop": ["\n"]},
    "limit": 200,
    "seed": 1,
    "gate": {"metric": "bleu", "margin": 2, "alpha": 0.01, "rule": "superior"},
}

_HYPERPARAMETERS = {
    "learningRate": 1e-4,
    "numTrainEpochs": 2,
    "maxSteps": 500,
    "perDeviceTrainBatchSize": 2,
    "gradientAccumulationSteps": 8,
    "maxSequenceLength": 512,
    "warmupRatio": 0.1,
    "weightDecay": 0.01,
    "lrSchedulerType": "linear",
    "optimizer": "paged_adamw_8bit",
    "maxGradNorm": 0.5,
    "seed": 7,
    "packing": True,
    "gradientCheckpointing": True,
    "loggingSteps": 5,
    "evalSteps": 50,
    "saveSteps": 100,
    "saveMinutes": 5,
    "saveTotalLimit": 3,
    "loadBestModelAtEnd": True,
    "earlyStoppingPatience": 3,
    "earlyStoppingThreshold": 0.01,
    "neftuneNoiseAlpha": 5,
    "assistantOnlyLoss": False,
    "completionOnlyLoss": False,
    "fsdp": False,
}

VALID: dict[str, tuple[Object, Object]] = {
    "FineTuneJob": (
        _object(
            "FineTuneJob",
            {
                "baseModel": {"uri": "hf://owner/name@main"},
                "dataset": {**_DATASET, "validationUri": "pvc://claim/validation.jsonl"},
                "method": "qlora",
                "preset": "support",
                "lora": {
                    "rank": 8,
                    "alpha": 16,
                    "dropout": 0.05,
                    "targetModules": ["q_proj", "v_proj"],
                    "useRslora": True,
                    "useDora": True,
                    "loraplusLrRatio": 16,
                },
                "hyperparameters": unlike_default(Hyperparameters, _HYPERPARAMETERS),
                "queueName": "team-a",
                "rerun": "second try",
                "preflight": {"fit": "Warn"},
                "recovery": {
                    "outOfMemory": "Fail",
                    "divergence": {"lossSigmas": 6, "patience": 5, "rollback": True},
                },
                "export": {"merged": True, "gguf": "q8_0"},
                "tracking": {
                    "uri": "http://mlflow:5000",
                    "secret": "mlflow",
                    "experiment": "demo",
                    "registeredModel": "demo",
                },
                "evaluation": {**_MEASUREMENT, "resources": dict(_RESOURCES)},
                **_JOB,
            },
        ),
        _object(
            "FineTuneJob",
            {
                "baseModel": {"uri": "s3://models/tiny"},
                "dataset": {"uri": "configmap://rows/train.jsonl", "validationShare": 0.1},
                "method": "full",
                "hyperparameters": {"fsdp": True},
                "evaluation": {**_MEASUREMENT, "seed": 2, "resources": dict(_OTHER_RESOURCES)},
                **_OTHER_JOB,
            },
        ),
    ),
    "Evaluation": (
        _object(
            "Evaluation",
            {
                "candidate": {"uri": "s3://models/tiny", "adapterUri": "s3://results/adapter"},
                "baselines": [{"name": "base", "uri": "s3://models/tiny", "adapterUri": "s3://results/older"}],
                **_MEASUREMENT,
                **_JOB,
            },
        ),
        _object(
            "Evaluation",
            {
                "candidate": {"fineTuneJobRef": {"name": "demo"}},
                "baselines": [{"name": "before", "fineTuneJobRef": {"name": "before"}}],
                "dataset": {"uri": "hf://owner/name"},
                **_OTHER_JOB,
            },
        ),
    ),
    "ModelDeployment": (
        _object(
            "ModelDeployment",
            {
                "model": {"uri": "s3://models/tiny", "adapterUri": "s3://results/adapter"},
                "requireVerdict": {"evaluationRef": {"name": "demo"}},
                "replicas": 2,
                "engine": {
                    "maxModelLen": 2048,
                    "maxNumSeqs": 8,
                    "gpuMemoryUtilization": 0.8,
                    "dtype": "bfloat16",
                    "enforceEager": True,
                    "extraArgs": ["--enable-prefix-caching"],
                },
                "drainSeconds": 5,
                "revision": "second",
                "cache": {"claimName": "models"},
                "rollout": "RollingUpdate",
                **_POD,
            },
        ),
        _object("ModelDeployment", {"model": {"fineTuneJobRef": {"name": "demo"}}, **_OTHER_POD}),
    ),
}
