"""Generates the CustomResourceDefinitions, the chart's copy of them and docs/api.md from the API models.

``python -m kubetune.crdgen`` writes them below the repository's root, ``--check`` only tells what is out of step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from kubetune.apidoc import render_reference
from kubetune.common.meta import GROUP, VERSION, KindInfo, Resource
from kubetune.preset_docs import render_presets
from kubetune.registry import KINDS as REGISTERED

KINDS: tuple[type[Resource], ...] = tuple(kind.api for kind in REGISTERED)
ROOT = Path(__file__).resolve().parents[2]
NAME_MAX = 253
"""Longest name Kubernetes allows; stated so that the cost of the rules on the name can be estimated."""

Schema = dict[str, Any]


def structural(node: Schema, defs: dict[str, Schema]) -> Schema:
    """A JSON schema of pydantic's as a structural schema of Kubernetes: no references, no null, no titles.

    Raises ValueError for what such a schema cannot say: unions and tuples of different types.
    """
    if "$ref" in node:
        target = defs[node["$ref"].rpartition("/")[2]]
        return structural({**target, **{key: value for key, value in node.items() if key != "$ref"}}, defs)
    if "prefixItems" in node:
        raise ValueError(f"tuples of different types cannot be in a CRD: {node}")
    out = {key: value for key, value in node.items() if key != "title"}
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        return structural(_without_null(out), defs)
    _tidy(out)
    if "properties" in out:
        out["properties"] = {name: structural(child, defs) for name, child in out["properties"].items()}
        # Members have defaults of their own; repeating them here would hide later changes of those.
        out |= {"default": {}} if "default" in out else {}
    for key in ("items", "additionalProperties"):
        if key in out:
            out[key] = structural(out[key], defs)
    return _ordered(out)


def _tidy(node: Schema) -> None:
    """Puts one level of a schema into Kubernetes' words."""
    if node.get("default", ...) in (None, []):
        del node["default"]
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    # The older form, in which an exclusive bound is a flag beside the bound.
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            node |= {inclusive: node[exclusive], exclusive: True}
    if node.get("type") == "integer":
        node["format"] = "int32" if node.get("maximum", 2**31) < 2**31 else "int64"


def _without_null(node: Schema) -> Schema:
    options = [option for option in node.pop("anyOf") if option.get("type") != "null"]
    if len(options) != 1:
        raise ValueError(f"unions cannot be in a CRD: {options}")
    return {**options[0], **node}


_FIRST = ("description", "type", "format", "enum", "default", "required", "properties")


def _ordered(node: Schema) -> Schema:
    return {key: node[key] for key in _FIRST if key in node} | {k: v for k, v in node.items() if k not in _FIRST}


def as_measured(node: Any) -> Any:
    """A schema without defaults and rules: status is written whole by the operator, so that defaults would add what
    nobody measured, and rules would only cost the API server time."""
    if isinstance(node, dict):
        dropped = ("default", "x-kubernetes-validations")
        return {key: as_measured(value) for key, value in node.items() if key not in dropped}
    return [as_measured(item) for item in node] if isinstance(node, list) else node


def openapi_schema(model: type[Resource]) -> Schema:
    """The ``openAPIV3Schema`` of a kind."""
    raw = model.model_json_schema(by_alias=True)
    defs = raw.pop("$defs", {})
    properties = raw["properties"]
    return {
        "description": " ".join((model.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": NAME_MAX}}},
            "spec": structural(properties["spec"], defs),
            "status": as_measured(structural(properties["status"], defs)),
        },
        "x-kubernetes-validations": [rule.to_dict() for rule in model.all_rules()],
    }


def _columns(info: KindInfo) -> list[dict[str, Any]]:
    return [
        {"name": column.name, "type": column.type, "jsonPath": column.json_path}
        | ({"priority": 1} if column.wide else {})
        for column in info.columns
    ]


def crd(model: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    info = model.info
    subresources: dict[str, Any] = {"status": {}}
    if info.scalable:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.readyReplicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{info.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "kubetune", "app.kubernetes.io/part-of": "kubetune"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": [info.short],
                "categories": ["kubetune"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": _columns(info),
                    "subresources": subresources,
                    "schema": {"openAPIV3Schema": openapi_schema(model)},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes equal parts in full: anchors would make the files hard to read and to compare."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quote_short_booleans(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    """Kubernetes' YAML reader takes a bare ``n`` (a field of ours) for a boolean, PyYAML's writer does not."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="'" if data in ("y", "Y", "n", "N") else None)


_Dumper.add_representer(str, _quote_short_booleans)


def to_yaml(document: dict[str, Any]) -> str:
    """YAML in the order of the members."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


_HEADER = "# Generated by `python -m kubetune.crdgen`; change the models in operator/kubetune instead.\n"
_KEEP = """  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def chart_template(text: str) -> str:
    """A CRD as a chart's template: upgraded with the release, kept (with all objects of its kind) when that goes."""
    head, labels, rest = text.partition("  labels:\n")
    return f"{{{{- if .Values.crds.install }}}}\n{head}{_KEEP}{labels}{rest}{{{{- end }}}}\n"


def outputs() -> dict[str, str]:
    """Path below the repository's root -> contents, for every generated file."""
    files = {}
    crds = [crd(model) for model in KINDS]
    for document in crds:
        name = f"{document['metadata']['name'].split('.')[0]}.yaml"
        text = to_yaml(document)
        files[f"crds/{name}"] = _HEADER + text
        files[f"charts/kubetune/templates/crds/{name}"] = _HEADER + chart_template(text)
    files["docs/api.md"] = f"{render_reference(crds)}\n{render_presets()}"
    return files


def main(argv: list[str] | None = None) -> int:
    """Exit status 1 when ``--check`` finds a file out of step."""
    parser = argparse.ArgumentParser(prog="python -m kubetune.crdgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of step")
    check = parser.parse_args(argv).check
    stale = [path for path, text in outputs().items() if not _matches(ROOT / path, text)]
    for path in stale:
        print(f"{'out of step' if check else 'written'}: {path}")
        if not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(outputs()[path])
    if check and stale:
        print("run `python -m kubetune.crdgen` and commit the result")
    return 1 if check and stale else 0


def _matches(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
