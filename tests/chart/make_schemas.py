"""Makes kubernetes-<minor>.json: the schemas of the kinds that chart and operator make, cut out of Kubernetes' own
OpenAPI document.

``python tests/chart/make_schemas.py 1.30 PATH/TO/swagger.json``, with the document of the Go module k8s.io/kubernetes
(api/openapi-spec/swagger.json). Strict: an unknown field is an error, as with ``kubectl --validate=strict``. There is
one file for the oldest minor that the chart's kubeVersion promises, and one for the newest that was tried.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KINDS = (
    "api.apps.v1.Deployment",
    "api.batch.v1.Job",
    "api.core.v1.Namespace",
    "api.core.v1.PersistentVolumeClaim",
    "api.core.v1.Pod",
    "api.core.v1.Secret",
    "api.core.v1.Service",
    "api.core.v1.ServiceAccount",
    "api.rbac.v1.ClusterRole",
    "api.rbac.v1.ClusterRoleBinding",
    "api.rbac.v1.Role",
    "api.rbac.v1.RoleBinding",
    "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
)
FOLDER = Path(__file__).parent
_LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["integer", "string"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["integer", "number", "string"]},
}


def cut(definitions: dict[str, Any]) -> dict[str, Any]:
    """The wanted definitions and all they refer to, without descriptions."""
    found: dict[str, Any] = {}
    waiting = [f"io.k8s.{kind}" for kind in KINDS]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _LOOSE.get(name) or _strict(definitions[name])
            waiting += _references(found[name])
    return dict(sorted(found.items()))


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {
        key: {name: _strict(child) for name, child in value.items()} if key == "properties" else _strict(value)
        for key, value in node.items()
        if key != "description" and not key.startswith("x-kubernetes")
    }
    if "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].rpartition("/")[2]] if isinstance(node.get("$ref"), str) else []
    return own + [name for value in node.values() for name in _references(value)]


if __name__ == "__main__":
    minor, path = sys.argv[1:]
    document = json.loads(Path(path).read_text())
    text = json.dumps({"definitions": cut(document["definitions"])}, separators=(",", ":"))
    (FOLDER / f"kubernetes-{minor}.json").write_text(f"{text}\n")
