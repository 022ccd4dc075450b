"""Further variants of every kind of fault: short name of the kind, field, a bad value, the words of the refusal; and
values that look odd and are right."""

# ruff: noqa: RUF005 (lists of a line each are read more easily than one of ten)
from __future__ import annotations

from typing import Any

_Case = tuple[str, str, Any, tuple[str, ...]]
_LONG = "a" * 64
_GPU: dict[str, Any] = {"gpu": 1}
_EVAL = {"dataset": {"uri": "s3://data/test.jsonl"}}
_EXISTS = {"operator": "Exists"}


def _each(short: str, field: str, values: list[Any], *words: str) -> list[_Case]:
    found: list[_Case] = [(short, field, value, words or (f"spec.{field}",)) for value in values]
    return found


def _resource(member: str, values: list[Any], **beside: Any) -> list[_Case]:
    """Of every kind that has resources."""
    places = (("ftj", "resources"), ("evl", "resources"), ("mdep", "resources"), ("ftj", "evaluation"))
    found: list[_Case] = []
    for short, place in places:
        for value in values:
            asked = {**beside, member: value}
            field = "evaluation.resources" if place == "evaluation" else place
            shown: Any = {**_EVAL, "resources": asked} if place == "evaluation" else asked
            found.append((short, place, shown, (f"spec.{field}.{member}",)))
    return found


BAD: list[_Case] = [
    *_resource("memory", [8, "8", "16", "100m", "600m", "512m", "1k", "12Ki", "16M", 4096, "8GB", "8gi", "-8Gi", "0"]),
    *_resource("gpuMemory", ["24", 24, "24576", "12000m", "24k", "16Mi", "24GB"], **_GPU),
    *_resource("cpu", ["8Gi", "8G", "500M", "0", "-1", "100u", "2 cores", 0, "1e9"]),
    *_resource(
        "gpuResourceName",
        ["nvidia.-com/gpu", "nvidia..com/gpu", "nvidia.com/-gpu", "Nvidia.com/gpu", "gpu", "kubernetes.io/gpu"]
        + ["x.kubernetes.io/gpu", "requests.nvidia.com/gpu", "nvidia.com/gpu/x", "nvidia.com/", "/gpu", ".com/gpu"],
        **_GPU,
    ),
    *_resource("gpu", [2, 4], gpuResourceName="nvidia.com/gpu.shared"),
    *_resource("gpu", [2], gpuResourceName="nvidia.com/mig-1g.5gb"),
    *_resource("gpu", [3], gpuResourceName="nvidia.com/mig-3g.20gb.shared"),
    *[
        ("ftj", "hyperparameters", {"fsdp": True, "optimizer": name}, ("spec.hyperparameters.optimizer",))
        for name in ("adafactor", "sgd", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit")
    ],
    *_each(
        "ftj",
        "baseModel.uri",
        ["hf://a/b@..", "hf://a/b@../c", "hf://a/b@x/../y", "hf://a/b@v1..v2", "hf://../b", "hf://a/..@main"]
        + ["hf://a/b@/main", "hf://a/b@main/", "hf://a/b@x.lock", "hf://-a/b", "hf://a--x/b", "hf://a/b.git"]
        + ["s3://bucket/a\x1b[31mb", "s3://bucket/a\x7fb", "s3://bucket/a\nb", "s3://bucket/a\tb", "s3://bucket/a b"]
        + ["s3://bucket/a\u200bb", "s3://bucket/a\u202eb", "s3://bucket/a\u00a0b", "s3://bucket/a\u0085b"]
        + ["s3://buc..ket/a", "pvc://claim.-x/a", "pvc://Claim/a", "pvc://a..b/a"],
    ),
    *_each("ftj", "dataset.uri", ["configmap://a..b/t.jsonl", "configmap://a/..t.jsonl", "s3://bucket/a\x00b"]),
    *_each("ftj", "dataset.validationUri", ["s3://bucket/a\x1bb", "hf://a/b@.."]),
    *_each("ftj", "output.uri", ["s3://bucket/a\x07b", "s3://bucket/a\u2028b"]),
    *_each("ftj", "tracking.uri", ["http://mlflow:5000/\x1b", "http://", "http:// x", "http://:5000", "http://a\u202eb"]),
    *_each("ftj", "tracking.experiment", ["a\x1b[31mb", " ", "a\nb"]),
    *_each("ftj", "tracking.registeredModel", ["a\x00b", " "]),
    *_each("evl", "dataset.uri", ["s3://bucket/a\x1bb", "hf://a/b@a/.."]),
    *_each("evl", "candidate.adapterUri", ["s3://bucket/a\x01b", "hf://a/b@.."]),
    ("evl", "baselines", [{"name": "b", "uri": "s3://bucket/a\x1bb"}], ("spec.baselines[0].uri",)),
    *_each("mdep", "model.uri", ["s3://models/a\x00b", "hf://a/b@..", "pvc://-a/b"]),
    *_each("mdep", "model.adapterUri", ["s3://models/a\x1bb"]),
    *_each("ftj", "credentials.objectStoreSecret", ["a_b", "A", "-a", "a-", "a..b", "a.-b", "a/b"]),
    *_each("ftj", "credentials.huggingFaceSecret", ["a b", "a.", ".a"]),
    *_each("ftj", "runtimeClassName", ["a..b", "NVIDIA"]),
    *_each("ftj", "queueName", ["a..b", "a_b", _LONG]),
    *_each("mdep", "cache.claimName", ["a..b", "a_b", "A"]),
    ("mdep", "model", {"uri": None, "fineTuneJobRef": {"name": "1.5b"}}, ("spec.model.fineTuneJobRef.name",)),
    ("mdep", "model", {"uri": None, "fineTuneJobRef": {"name": _LONG}}, ("spec.model.fineTuneJobRef.name",)),
    ("mdep", "requireVerdict", {"evaluationRef": {"name": "a.b"}}, ("spec.requireVerdict.evaluationRef.name",)),
    *_each(
        "mdep",
        "engine.extraArgs",
        [["--api-k", "x"], ["--api_key=x"], ["--api-key=s3cret\n"], ["--a=x"], ["--served-m", "x"], ["--mod=x"]]
        + [["--port=1\n"], ["--dtype half"], ["--dtype\thalf"], ["half"], ["--x", "a b"], [" --api-key=x"], ["-tp2"]]
        + [["-tp=2"], ["-t", "2"], ["--tensor_parallel_s=2"], ["--config.x=1"], ["--hos=::"], ["--no-enable-l"], ["--"]]
        + [["-"], ["--x\n", "y"], ["--x=a b"], ["--x\u00a0y"], ["--gpu-memory-util=1"], ["--max-model-le", "9"]],
    ),
    ("evl", "baselines", [{"name": "b", "uri": "s3://models/base/", "adapterUri": "s3://models/adapter/"}],
     ("spec.baselines", "spec.candidate")),
    ("evl", "baselines", [{"name": "a", "uri": "s3://models/other"},
                          {"name": "b", "uri": "s3://models/base", "adapterUri": "s3://models/adapter"}],
     ("spec.baselines", "spec.candidate")),
    *[
        (short, "nodeSelector", selector, ("spec.nodeSelector",))
        for short in ("ftj", "evl", "mdep")
        for selector in (
            {"": "x"}, {"Example.com/gpu": "x"}, {"a/b/c": "x"}, {"/gpu": "x"}, {"gpu/": "x"}, {"-gpu": "x"},
            {"g pu": "x"}, {_LONG: "x"}, {"gpu": "RTX 3060"}, {"gpu": "x-"}, {"gpu": "-x"}, {"gpu": "x/y"},
            {"gpu": _LONG}, {"gpu": "ü"}, {"a..b/gpu": "x"},
        )
    ],
    *[
        (short, "tolerations", [toleration], ("tolerations[0]",))
        for short in ("ftj", "evl", "mdep")
        for toleration in (
            {}, {"key": ""}, {"operator": "Equal"}, {"value": "x"}, {"key": "gpu", **_EXISTS, "value": "true"},
            {"key": "/gpu", **_EXISTS},
            {"key": "gpu", "value": "a b"}, {"key": "gpu", "value": "x-"},
            {"key": "gpu", **_EXISTS, "effect": "NoRun"}, {"key": "gpu", "operator": "In", "value": "x"},
            {**_EXISTS, "tolerationSeconds": 5},
            {"key": "g", **_EXISTS, "effect": "NoSchedule", "tolerationSeconds": 5},
        )
    ],
    ("ftj", "evaluation", {"dataset": {"uri": "s3://data/t", "format": "text"}}, ("spec.evaluation.dataset.format",)),
    ("evl", "dataset", {"format": "text"}, ("spec.dataset.format",)),
    *[
        ("evl", "gate", {"metric": "exactMatch", "margin": margin}, ("spec.gate.margin",))
        for margin in (1.5, 5, 100)
    ],
    *[
        ("ftj", "evaluation", {**_EVAL, "metrics": [metric], "gate": {"metric": metric, "margin": 2}},
         ("spec.evaluation.gate.margin",))
        for metric in ("exactMatch", "tokenF1", "rougeL", "lengthRatio")
    ],
    *[
        ("ftj", "evaluation", {**_EVAL, "metrics": [metric], "gate": {"metric": metric, "margin": 101}},
         ("spec.evaluation.gate.margin",))
        for metric in ("chrF", "bleu")
    ],
    ("ftj", "evaluation", {"dataset": {"uri": "s3://data/train.jsonl"}}, ("spec.evaluation", "spec.dataset.uri")),
    ("ftj", "evaluation", {"dataset": {"uri": "s3://data/train.jsonl/"}}, ("spec.evaluation", "spec.dataset.uri")),
]  # fmt: skip

VALID: list[tuple[str, str, Any]] = [
    *[("ftj", "resources", {"memory": one}) for one in ("64Mi", "1.5Gi", "24G", "8e9", 8589934592, "0.5Gi", "16Ti")],
    *[("ftj", "resources", {"cpu": one}) for one in ("2", 2, "500m", "1.5", "0.1", "1e1", "128")],
    *[("mdep", "resources", {"gpu": 1, "gpuMemory": one}) for one in ("24G", "11.5Gi", "512Mi", 25769803776)],
    *[
        ("ftj", "resources", {"gpu": count, "gpuResourceName": name})
        for count, name in ((1, "nvidia.com/mig-1g.10gb"), (1, "nvidia.com/gpu.shared"), (4, "amd.com/gpu"))
    ],
    ("ftj", "resources", {"gpu": 2, "gpuResourceName": "gpu.intel.com/i915"}),
    *[
        ("ftj", "baseModel.uri", uri)
        for uri in (
            "hf://a/b", "hf://a/b@main", "hf://a/b@refs/pr/12", "hf://a_b/c.d-e@v1.0", "hf://a/b@release/2026-01.x",
            "s3://bucket/a..b", "s3://bucket/ümlaut/模型", "s3://b.c.d/a//b", "s3://bucket/a%20b+c=d,e:f@g", "pvc://a.b/",
            "s3://bucket/.hidden", "s3://bucket/...", "pvc://claim/a..b",
        )
    ],
    ("ftj", "dataset.uri", "configmap://chats/a..b.jsonl"),
    ("ftj", "dataset.systemPrompt", "Zeile\nzwei\tüü 👩‍💻"),
    ("ftj", "tracking", {"uri": "https://mlflow.example:443/x?y=a@b", "experiment": "Versuch 1 – ü"}),
    ("mdep", "nodeSelector", {"kubernetes.io/hostname": "a.b_c-1", "x": "", "GPU": "RTX-3060"}),
    ("mdep", "tolerations", [{"operator": "Exists"}, {"key": "a.b/c", "value": ""}, {"key": "x", "value": "1"}]),
    ("mdep", "tolerations", [{"key": "x", "operator": "Exists", "value": "", "effect": "NoExecute",
                              "tolerationSeconds": 0}]),
    *[
        ("mdep", "engine.extraArgs", arguments)
        for arguments in (
            ["--enable-prefix-caching"], ["--kv-cache-dtype", "fp8"], ["-O3"], ["--max-logprobs", "-1"],
            ['--hf-overrides={"rope": {"a": 1}}'], ["--override-generation-config", '{"temperature": 0.5}'],
            ["--model-impl=transformers"], ["--tokenizer-mode", "slow"], ["--config-format=hf"], ["--quantization=awq"],
            ["--hf-overrides.a.b=1"], ["--enable-lora-bias"], ["--dtypes"],
            ["--chat-template-content-format", "string"],
            ["-q", "awq"], ["--revision=a/b"],
        )
    ],
    ("evl", "gate", {"metric": "exactMatch", "margin": 1}),
    ("evl", "gate", {"metric": "chrF", "margin": 100}),
    ("evl", "baselines", [{"name": "b", "uri": "s3://models/base"}, {"name": "c", "uri": "s3://models/adapter"}]),
    ("evl", "baselines", [{"name": "job", "fineTuneJobRef": {"name": "other"}}]),
    ("ftj", "evaluation", {"dataset": {"uri": "s3://data/train.jsonl.test", "format": "messages"}}),
    ("ftj", "hyperparameters", {"optimizer": "adafactor"}),
    ("ftj", "credentials", {"objectStoreSecret": "a.b-c", "huggingFaceSecret": "1"}),
]  # fmt: skip
