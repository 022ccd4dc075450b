"""The generated files are in step with the models and have the shape the API server asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kubetune.apidoc import FIRST, render_reference
from kubetune.common.meta import Resource
from kubetune.crdgen import KINDS, ROOT, crd, main, openapi_schema, outputs, structural, to_yaml
from kubetune.modeldeployment.api import ModelDeployment

kinds = pytest.mark.parametrize("model", KINDS, ids=lambda model: model.info.kind)


@pytest.mark.parametrize("path", outputs())
def test_generated_files_are_in_step(path: str) -> None:
    assert (ROOT / path).read_text() == outputs()[path], "run `python -m kubetune.crdgen` and commit the result"


def test_check_tells_what_is_out_of_step(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubetune.crdgen.ROOT", tmp_path)
    assert main(["--check"]) == 1
    assert "out of step: crds/finetunejobs.yaml" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0


def _nodes(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(f"{path}.{name}", child)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _nodes(f"{path}[]", node[key])


@kinds
def test_everything_is_described(model: type[Resource]) -> None:
    properties = openapi_schema(model)["properties"]
    for part in ("spec", "status"):
        for path, node in _nodes(part, properties[part]):
            assert node.get("description") or path.endswith("[]"), path


@kinds
def test_everything_is_bounded(model: type[Resource]) -> None:
    """The cost of a CEL rule is estimated from the largest object the schema allows."""
    properties = openapi_schema(model)["properties"]
    for part in ("spec", "status"):
        for path, node in _nodes(part, properties[part]):
            kind = node.get("type")
            if kind == "string":
                assert {"maxLength", "enum"} & node.keys() or node.get("format") == "date-time", path
            if kind == "array":
                assert "maxItems" in node, path
                assert "x-kubernetes-list-type" in node, path
            if "additionalProperties" in node:
                assert "maxProperties" in node, path
            if kind in ("integer", "number") and part == "spec":
                assert {"minimum", "maximum"} <= node.keys() or path.endswith("tolerationSeconds"), path


@kinds
def test_schemas_are_structural(model: type[Resource]) -> None:
    for path, node in _nodes("", openapi_schema(model)):
        assert not {"$ref", "title", "const", "prefixItems"} & node.keys(), path
        assert "anyOf" not in node or node["x-kubernetes-int-or-string"], path
        assert not isinstance(node.get("exclusiveMinimum"), float), path


@kinds
def test_status_has_no_defaults(model: type[Resource]) -> None:
    for path, node in _nodes("status", openapi_schema(model)["properties"]["status"]):
        assert "default" not in node, path


def test_unions_and_mixed_tuples_are_refused() -> None:
    with pytest.raises(ValueError, match="unions"):
        structural({"anyOf": [{"type": "integer"}, {"type": "string"}]}, {})
    with pytest.raises(ValueError, match="tuples"):
        structural({"prefixItems": [{"type": "integer"}]}, {})


def test_only_deployments_scale() -> None:
    scaled = [model.info.kind for model in KINDS if "scale" in crd(model)["spec"]["versions"][0]["subresources"]]
    assert scaled == ["ModelDeployment"]


def test_an_autoscaler_finds_the_pods() -> None:
    """Without the path of a selector it says "the HPA target's scale is missing a selector" and does nothing."""
    version = crd(ModelDeployment)["spec"]["versions"][0]
    path = version["subresources"]["scale"]["labelSelectorPath"]
    assert path == ".status.selector"
    assert "selector" in version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]


def test_single_letters_that_other_readers_take_for_booleans_are_quoted() -> None:
    assert to_yaml({"required": ["n"], "n": 1}) == "required:\n- 'n'\n'n': 1\n"


@pytest.mark.walk("S7")
@kinds
def test_the_reference_begins_with_the_ten_fields_one_needs_first(model: type[Resource]) -> None:
    kind = model.info.kind
    page = render_reference([crd(model)])
    first = page.partition(f"### {kind}: the fields one needs first\n")[2].partition("\n### ")[0]
    rows = [line.split("`")[1] for line in first.splitlines() if line.startswith(("| `", "| **`"))]
    assert rows == list(FIRST[kind])
    assert len(rows) == len(set(rows)) == 10
    assert page.index("the fields one needs first") < page.index("every field of the spec")


@pytest.mark.walk("S7")
@kinds
def test_the_reference_says_once_what_cannot_be_changed(model: type[Resource]) -> None:
    page = render_reference([crd(model)])
    assert page.count("can be changed after creation") == (0 if model.info.kind == "ModelDeployment" else 1)
    assert "cannot be changed after creation" not in page
    rules = page.partition("### Rules\n")[2].partition("### status")[0].strip().splitlines()
    assert len(rules) == len({line.rpartition("`: ")[2] for line in rules}), "each rule stands there once"
