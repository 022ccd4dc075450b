"""Custom resources that must be refused or told of, and their like that must be taken."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_HEADER = re.compile(r"^# (\S+): must be caught at `(apply|status)`; the message must name: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Bad:
    """``where`` it must be caught: at ``apply`` by the API server, in ``status`` by the operator."""

    name: str
    where: str
    words: tuple[str, ...]
    manifest: Object


def read(path: Path) -> Iterator[Bad]:
    """The manifests of a file whose comments tell what is expected."""
    for document in path.read_text().split("\n---\n"):
        header = _HEADER.search(document)
        if header:
            yield Bad(header[1], header[2], tuple(header[3].strip().split(", ")), yaml.safe_load(document))


_BASES: dict[str, Object] = {
    "FineTuneJob": {"baseModel": {"uri": "s3://models/base"}, "dataset": {"uri": "s3://data/train.jsonl"}},
    "Evaluation": {
        "candidate": {"uri": "s3://models/base", "adapterUri": "s3://models/adapter"},
        "baselines": [{"name": "base", "uri": "s3://models/base"}],
        "dataset": {"uri": "s3://data/test.jsonl"},
        "metrics": ["exactMatch", "chrF"],
    },
    "ModelDeployment": {"model": {"uri": "s3://models/base"}},
}
_KINDS = {"ftj": "FineTuneJob", "evl": "Evaluation", "mdep": "ModelDeployment"}


def made(short: str, field: str, value: Any, name: str = "made") -> Object:
    """A least manifest of a kind with one field of its spec set; ``a.b.c`` goes down, a dict is merged."""
    spec = copy.deepcopy(_BASES[_KINDS[short]])
    *above, last = field.split(".")
    holder = spec
    for step in above:
        holder = holder.setdefault(step, {})
    if isinstance(value, dict) and isinstance(holder.get(last), dict):
        value = holder[last] | value
    holder[last] = value
    return _object(short, spec, {"name": name})


def _object(short: str, spec: Object, metadata: Object) -> Object:
    return {"apiVersion": "kubetune.io/v1alpha1", "kind": _KINDS[short], "metadata": metadata, "spec": spec}


def variant(name: str, short: str, *words: str, namespace: str = "", **spec: Any) -> Bad:
    """A least manifest with further members of its spec, to be told of in the status with ``words``."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return Bad(name, "status", words, _object(short, copy.deepcopy(_BASES[_KINDS[short]]) | spec, metadata))
