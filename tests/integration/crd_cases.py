"""Cases for every limit and every CEL rule of the CRDs: an object that is refused, and its like that is taken.

Limits of the schema become cases by their kind. A CEL rule needs an entry in ``VALUES`` or ``PATCHES`` by its message;
``rule_cases`` raises KeyError for a rule without one, so that no rule goes untested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubetune.common.dataset import ITEM_COLUMNS
from kubetune.common.meta import Resource
from kubetune.common.model import NAME_LIMIT
from kubetune.common.pod_options import LABEL_KEY_TEXT, LABEL_TEXT
from kubetune.common.uris import NO_LOGIN_RULE
from kubetune.modeldeployment.api import MANAGED_ARGUMENTS
from kubetune_contract import COLUMNS
from tests.integration.crd_walk import ANY_KEY, Object, Place, places


@dataclass(frozen=True)
class Case:
    """``bad`` must be refused with ``message`` at ``field``; ``good`` must be taken."""

    name: str
    field: str
    message: str
    bad: Object
    good: Object


DOMAIN = 253
"""Longest part of a label's key before its slash."""
IMMUTABLE = "cannot be changed after creation"
"""In the messages of the rules about updates, which test_cel.py covers."""

_MODEL_URI = "must be s3://bucket/path, pvc://claim/path or hf://owner/name@revision"
_DATA_URI = "must be s3://bucket/file, pvc://claim/file, configmap://name/key or hf://owner/name@revision"

VALUES: dict[str, tuple[Any, Any]] = {
    "cpuLimit is less than cpu, which is requested; raise it to cpu or more, or lower cpu": (
        {"cpu": "1500m", "cpuLimit": "1"},
        {"cpu": "1500m", "cpuLimit": 2},
    ),
    _MODEL_URI: ("gs://bucket/model", "pvc://models/llama"),
    _DATA_URI: ("/data/train.jsonl", "configmap://rows/train.jsonl"),
    "must be s3://bucket/prefix, because results are kept in the object store": ("pvc://claim/x", "s3://bucket/x/y"),
    "must be an http:// or https:// URL, for example http://mlflow:5000": ("mlflow:5000", "https://mlflow.example/x"),
    NO_LOGIN_RULE.message: ("http://me:secret@mlflow:5000", "http://mlflow:5000/@me"),
    "must not contain '..' as a part of its path": ("s3://bucket/../other", "s3://bucket/a..b"),
    "must be the name of an object in this namespace: lower-case letters, digits, '-' and '.'": ("a/b", "a.b-c"),
    "must be a number of CPUs from 1m to 10000, for example 2 or 500m": ("8Gi", 2),
    "must be at least 64Mi, with its unit: 8Gi for example; without one it counts bytes": ("512m", "1.5Gi"),
    "must be at least 256Mi, with its unit: 24G for example; without one it counts bytes": ("24576", "24G"),
    "must have neither spaces nor control characters nor others that are not seen": (
        "s3://bucket/a\x1b[31mb",
        "s3://bucket/\u00fcbung/\u8a00\u8a9e",
    ),
    "must have no control characters nor others that are not seen": ("--z=\u202eb", "--z=\u00fc"),
    "must not be blank": (" ", "a b"),
    "the hub has no repository with '--' in its name or '.git' at its end, and no revision with '.lock' at its end": (
        "hf://owner/a--b@main",
        "hf://owner/a-b@refs/pr/1",
    ),
    f"no label has this value: it has {LABEL_TEXT}": ("RTX 3060", "RTX-3060"),
    f"no label has such a key: it has {LABEL_KEY_TEXT}": ({"Example.com/gpu": "x"}, {"example.com/GPU": "x"}),
    f"no taint has this key: it has {LABEL_KEY_TEXT}": ("/gpu", "nvidia.com/gpu"),
    "must be the name of an object of KubeTune: it begins with a letter and has lower-case letters, digits and '-'": (
        "1.5b",
        "b-15",
    ),
    "must begin with an option of vllm serve, for example --enable-prefix-caching": (["fp8"], ["-O3"]),
    "takes one word an item, an option or its value, without spaces: [--kv-cache-dtype, fp8] or "
    "[--kv-cache-dtype=fp8]": (
        ["--kv-cache-dtype fp8"],
        ["--kv-cache-dtype", "fp8", "--max-logprobs", "-1", '--hf-overrides={"a": 1}', "--x.y=1"],
    ),
    "must be a compute capability in quotes, for example '8.6'": ("8,6", "8.6"),
    "must be the name of a resource as nodes offer it, for example nvidia.com/mig-1g.10gb": (
        "requests.nvidia.com/gpu",
        "amd.com/gpu",
    ),
    "must have only lower-case letters, digits and '-', and must not be 'candidate'": ("candidate", "other-base"),
    "all-linear already means every linear layer; list it alone or name the modules": (
        ["all-linear", "q_proj"],
        ["all-linear"],
    ),
    "MLflow allows neither '/' nor ':' in the name of a registered model": ("team/support", "team.support"),
    **{
        f"columns maps our names to the dataset's; the names are {', '.join(names)}": ({"frage": "q"}, {"prompt": "q"})
        for names in (COLUMNS, ITEM_COLUMNS)
    },
    "these options follow from other fields and cannot be given here, nor their beginnings, which vLLM takes for them: "
    f"{', '.join(MANAGED_ARGUMENTS)}": (["--served_model_n=x"], ["--model-impl=auto", "--port-less"]),
}
"""Message of a rule about a value -> one that is refused, one that is taken."""

_NO_EVAL = {
    "evalSteps": None,
    "loadBestModelAtEnd": None,
    "earlyStoppingPatience": None,
    "earlyStoppingThreshold": None,
}
_REF = {"fineTuneJobRef": {"name": "demo"}, "uri": None, "adapterUri": None}
_FSDP = {"fsdp": True, "optimizer": None}
_BASE = {"uri": "s3://models/base", "adapterUri": None}
_NAME = "metadata.name must have at most 52 characters, because the names of its pods are made from it"

PATCHES: dict[str, tuple[Object, Object]] = {
    _NAME: ({"metadata": {"name": "a" * (NAME_LIMIT + 1)}}, {"metadata": {"name": "a" * NAME_LIMIT}}),
    "metadata.name must start with a letter and have only lower-case letters, digits and '-', "
    "because Services and pods are named after it": ({"metadata": {"name": "1.5b"}}, {"metadata": {"name": "b-15"}}),
    "set exactly one of fineTuneJobRef and uri": ({"fineTuneJobRef": {"name": "x"}, "uri": "s3://bucket/x"}, _REF),
    "adapterUri needs uri, the model it was trained on; a fineTuneJobRef brings its own adapter": (
        {**_REF, "adapterUri": "s3://bucket/adapter"},
        {"fineTuneJobRef": None, "uri": "s3://bucket/base", "adapterUri": "s3://bucket/adapter"},
    ),
    "set at most one of validationUri and validationShare": (
        {"validationUri": "s3://bucket/validation.jsonl", "validationShare": 0.1},
        {"validationUri": None, "validationShare": 0.1},
    ),
    "method full trains every weight and has no adapter; remove lora, or use method lora or qlora": (
        {"method": "full", "lora": {"rank": 8}, "export": None},
        {"method": "full", "lora": None, "export": None},
    ),
    "hyperparameters.evalSteps needs validation rows; set dataset.validationUri or dataset.validationShare too": (
        {"hyperparameters": {"evalSteps": 5}, "dataset": {"validationUri": None, "validationShare": None}},
        {"hyperparameters": {"evalSteps": 5}, "dataset": {"validationUri": None, "validationShare": 0.1}},
    ),
    "method full publishes a whole model anyway; remove export.merged, or use method lora or qlora": (
        {"method": "full", "lora": None, "export": {"merged": True}},
        {"method": "full", "lora": None, "export": {"merged": False, "gguf": "f16"}},
    ),
    "rows of format text are no chats and have no place for a systemPrompt": (
        {"format": "text", "systemPrompt": "Be brief."},
        {"format": "text", "systemPrompt": None},
    ),
    "loadBestModelAtEnd compares validation losses on the way; set evalSteps too": (
        {**_NO_EVAL, "loadBestModelAtEnd": True},
        {**_NO_EVAL, "loadBestModelAtEnd": False},
    ),
    "earlyStoppingPatience counts validation losses on the way; set evalSteps too": (
        {**_NO_EVAL, "earlyStoppingPatience": 3},
        {**_NO_EVAL, "evalSteps": 5, "earlyStoppingPatience": 3},
    ),
    "earlyStoppingThreshold is about early stopping; set earlyStoppingPatience too": (
        {**_NO_EVAL, "earlyStoppingThreshold": 0.1},
        {**_NO_EVAL, "evalSteps": 5, "earlyStoppingPatience": 3, "earlyStoppingThreshold": 0.1},
    ),
    "hyperparameters.fsdp divides method full among GPUs; set method to full and resources.gpu to 2 or more": (
        {"method": "full", "lora": None, "export": None, "resources": {"gpu": 1}, "hyperparameters": _FSDP},
        {"method": "full", "lora": None, "export": None, "resources": {"gpu": 2}, "hyperparameters": _FSDP},
    ),
    "recovery.divergence.rollback needs checkpoints to go back to; "
    "set hyperparameters.saveMinutes above 0 or saveSteps": (
        {
            "recovery": {"divergence": {"rollback": True}},
            "hyperparameters": {"saveMinutes": 0, "saveSteps": None},
        },
        {
            "recovery": {"divergence": {"rollback": True}},
            "hyperparameters": {"saveMinutes": 0, "saveSteps": 5},
        },
    ),
    "gpuResourceName counts slices or shares of a card, which cannot work together: set gpu to 1": (
        {"gpu": 2, "gpuResourceName": "nvidia.com/mig-1g.10gb.shared"},
        {"gpu": 1, "gpuResourceName": "nvidia.com/mig-1g.10gb.shared"},
    ),
    "name the key of a taint; only operator Exists may leave it out, which tolerates every taint": (
        {"key": None},
        {"key": None, "operator": "Exists", "value": None},
    ),
    "operator Exists compares no value; remove value, or set operator to Equal": (
        {"operator": "Exists"},
        {"operator": "Exists", "value": None},
    ),
    "tolerationSeconds is about effect NoExecute; set that, or remove tolerationSeconds": (
        {"effect": "NoSchedule"},
        {"effect": "NoSchedule", "tolerationSeconds": None},
    ),
    "fsdp divides the state of adamw_torch and adamw_torch_fused only; take one, or leave optimizer out": (
        {"fsdp": True, "optimizer": "adafactor"},
        {"fsdp": False, "optimizer": "adafactor"},
    ),
    "rows of format text have no question and no expected answer; evaluate on messages, promptCompletion, "
    "instruction or sharegpt": ({"format": "text", "systemPrompt": None}, {"format": "sharegpt"}),
    "the metric goes from 0 to 1, so margin is a share: 0.05 for five points of 100": (
        {"metric": "exactMatch", "margin": 5},
        {"metric": "exactMatch", "margin": 0.05},
    ),
    "spec.evaluation.dataset.uri is spec.dataset.uri: a model knows the rows it was trained on, so the result would "
    "mean nothing; keep some rows apart and name them here": (
        {"dataset": {"uri": "s3://data/a"}, "evaluation": {"dataset": {"uri": "s3://data/a/"}}},
        {"dataset": {"uri": "s3://data/a"}, "evaluation": {"dataset": {"uri": "s3://data/b"}}},
    ),
    "spec.evaluation.dataset.uri is spec.dataset.validationUri, whose rows choose the weights (loadBestModelAtEnd, "
    "earlyStoppingPatience), so they would speak for what they chose; name other rows": (
        {"dataset": {"validationUri": "s3://data/v"}, "evaluation": {"dataset": {"uri": "s3://data/v"}}},
        {
            "dataset": {"validationUri": "s3://data/v"},
            "evaluation": {"dataset": {"uri": "s3://data/v"}},
            "hyperparameters": _NO_EVAL,
        },
    ),
    "spec.baselines names the model that spec.candidate is: nothing could be measured; take another baseline, or leave "
    "baselines out to compare a fineTuneJobRef with its base model": (
        {"candidate": _BASE, "baselines": [{"name": "b", "uri": "s3://models/base/"}]},
        {"candidate": _BASE, "baselines": [{"name": "b", "uri": "s3://models/base", "adapterUri": "s3://models/a"}]},
    ),
    "gpuMemory, computeCapability and gpuResourceName say which GPU; set gpu to 1 or more, or leave them out": (
        {"gpu": 0, "gpuMemory": "12G"},
        {"gpu": 1, "gpuMemory": "12G"},
    ),
    "gate.metric must be one of metrics; add it there, otherwise it is not measured": (
        {"gate": {"metric": "bleu"}, "metrics": ["exactMatch"]},
        {"gate": {"metric": "bleu"}, "metrics": ["exactMatch", "bleu"]},
    ),
    "a candidate given by uri needs baselines to be compared with": (
        {"candidate": {"uri": "s3://bucket/x", "fineTuneJobRef": None}, "baselines": None},
        {"candidate": _REF, "baselines": None},
    ),
}
"""Message of a rule about an object -> merge patches: one that is refused, one that is taken."""


def rule_cases(model: type[Resource]) -> Iterator[Case]:
    """One case per CEL rule of a kind, but those about updates. Raises KeyError for a rule that has no entry above."""
    for place in places(model):
        for rule in place.schema.get("x-kubernetes-validations", []):
            message = rule["message"]
            if IMMUTABLE in message:
                continue
            if message in VALUES:
                bad, good = (place.replaced(value) for value in VALUES[message])
            else:
                bad, good = (place.merged(patch) for patch in PATCHES[message])
            field = f"{place.name}{rule.get('fieldPath', '')}".lstrip(".").split(f".{ANY_KEY}")[0]
            yield Case(f"{place.kind}: {place.name} {message[:40]}", field, message, bad, good)


def limit_cases(model: type[Resource]) -> Iterator[Case]:
    """One case per limit of a kind's schema."""
    for place in places(model):
        if place.required and place.path != ("spec",):
            yield _case(place, "required", "Required value", place.removed(), place.base())
        for limit, pair in (*_scalar_limits(place), *_collection_limits(place)) if place.path else ():
            bad, good = (place.replaced(value) for value in pair)
            yield _case(place, limit, _MESSAGES[limit], bad, good)


_MESSAGES = {
    "enum": "Unsupported value",
    "minimum": "should be greater than",
    "maximum": "should be less than",
    "minLength": "should be at least",
    "maxLength": "Too long",
    "minItems": "should have at least",
    "maxItems": "Too many",
    "maxProperties": "Too many",
    "x-kubernetes-list-type": "Duplicate value",
    "type": "Invalid value",
}


def _case(place: Place, limit: str, message: str, bad: Object, good: Object) -> Case:
    # The API server names a map's entry in one of several ways, but always begins with the map.
    field = place.name.split(f".{ANY_KEY}")[0]
    return Case(f"{place.kind}: {place.name} {limit}", field, message, bad, good)


Limits = Iterator[tuple[str, tuple[Any, Any]]]
"""Pairs of a limit and of a value just outside it with one just inside."""


def _scalar_limits(place: Place) -> Limits:
    schema = place.schema
    if "enum" in schema:
        yield "enum", ("nonsense", place.value())
    for bound, outwards in (("minimum", -1), ("maximum", 1)):
        if bound in schema:
            yield bound, _around(schema, bound, outwards)
    if "maxLength" in schema:
        yield "maxLength", (_text(place, schema["maxLength"] + 1), _text(place, schema["maxLength"]))
    if schema.get("minLength"):
        yield "minLength", ("", place.value())
    if schema.get("type") in ("boolean", "integer", "number", "object", "array"):
        yield "type", ("text", place.value())


def _collection_limits(place: Place) -> Limits:
    schema = place.schema
    if "maxItems" in schema:
        yield "maxItems", (_items(place, schema["maxItems"] + 1), _items(place, schema["maxItems"]))
    if schema.get("minItems"):
        yield "minItems", ([], place.value())
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        yield "x-kubernetes-list-type", ([place.value()[0]] * 2, place.value())
    if "maxProperties" in schema:
        yield "maxProperties", (_entries(place, schema["maxProperties"] + 1), _entries(place, schema["maxProperties"]))


def _around(schema: Object, bound: str, outwards: int) -> tuple[Any, Any]:
    value = schema[bound]
    if schema.get(f"exclusive{bound.capitalize()}"):
        return value, value - outwards * 1e-3
    return value + outwards, value


def _text(place: Place, length: int) -> str:
    """The valid text, padded in a way that keeps it valid but for its length."""
    text = str(place.value())
    if place.schema.get("x-kubernetes-int-or-string"):
        return text.rjust(length, "0")
    if place.path[-1] == "key":
        return f"{('a.' * DOMAIN)[:DOMAIN]}/".ljust(length, "a")
    return text.ljust(length, "a")


def _items(place: Place, count: int) -> list[Any]:
    """The valid list, lengthened; items are kept apart where they must differ."""
    first = place.value()[0]
    if "enum" in place.schema["items"]:
        values = place.schema["items"]["enum"]
        return [values[index % len(values)] for index in range(count)]
    if isinstance(first, str):
        return [f"{first}{index}" for index in range(count)]
    return [{**first, "name": f"{first['name']}{index}"} if "name" in first else first for index in range(count)]


def _entries(place: Place, count: int) -> dict[str, str]:
    """A map of that many entries; the columns of a dataset take only our own names."""
    own = ITEM_COLUMNS if place.schema.get("maxProperties") == len(ITEM_COLUMNS) else COLUMNS
    names = list(own) if place.name.endswith("columns") else []
    return {key: "value" for key in (names + [f"key{index}" for index in range(count)])[:count]}
