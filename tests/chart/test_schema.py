"""What chart and operator make, and every example, fits the schemas of Kubernetes and of our own CRDs: of the oldest
Kubernetes that is promised and of the newest that was tried."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune.crdgen import KINDS, openapi_schema
from tests.chart.helm import CHART, RELEASE, ROOT, helm, template, tool
from tests.cluster.build import KUBERNETES
from tests.support.golden import FOLDER

OLDEST, NEWEST = "1.30", "1.36"
MADE = sorted(path for path in FOLDER.glob("*.yaml") if "config" not in path.name)
"""Jobs, Deployments and Services as the operator makes them."""
EXAMPLES = sorted((ROOT / "manifests/examples").rglob("*.yaml"))
VALUES = sorted((ROOT / "manifests/values").glob("*.yaml"))
VARIANTS = {
    "default": (),
    "external": ("objectStore.external.endpoint=https://s3.example.com", "tracking.external.uri=http://mlflow:5000"),
    "aws": ("objectStore.external.aws=true", "tracking.enabled=false"),
    "namespaces": ("namespaces={a,b}", "objectStore.credentialNamespaces={a,b}"),
    "placed": (
        "operator.nodeSelector.disk=ssd",
        "tracking.tolerations[0].operator=Exists",
        "objectStore.persistence.storageClass=fast",
        "images.pullSecrets[0].name=pull",
        "operator.priorityClassName=high",
        "operator.podAnnotations.x=y",
    ),
}


@pytest.fixture(scope="module", params=[OLDEST, NEWEST])
def schemas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of either Kubernetes."""
    return _folder(request.param, tmp_path_factory.mktemp("schemas"))


def _folder(minor: str, folder: Path) -> Path:
    """Fills a folder with schemas by kind, group and version, as kubeconform looks them up."""
    definitions = Path(__file__).with_name(f"kubernetes-{minor}.json").read_text()
    (folder / "kubernetes.json").write_text(definitions)
    for name in json.loads(definitions)["definitions"]:
        *_, group, version, kind = name.split(".")
        full_group = {"rbac": "rbac.authorization.k8s.io", "apiextensions": "apiextensions.k8s.io"}.get(group, group)
        key = f"{kind}-{full_group}-{version}" if group != "core" else f"{kind}-{version}"
        (folder / f"{key.lower()}.json").write_text(json.dumps({"$ref": f"kubernetes.json#/definitions/{name}"}))
    for model in KINDS:
        schema = _strict(openapi_schema(model))
        schema["properties"]["metadata"] = {"type": "object"}
        (folder / f"{model.info.singular}-kubetune.io-v1alpha1.json").write_text(json.dumps(schema))
    return folder


def _strict(node: Any) -> Any:
    """The CRD's schema as a JSON schema that refuses unknown fields, as the API server does when asked to be strict."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _strict(value) for key, value in node.items()}
    if isinstance(out.get("properties"), dict) and out.get("type") == "object":
        out.setdefault("additionalProperties", False)
    return out


def _check(text: str, schemas: Path) -> subprocess.CompletedProcess[str]:
    location = f"{schemas}/{{{{.ResourceKind}}}}-{{{{.Group}}}}-{{{{.ResourceAPIVersion}}}}.json"
    core = f"{schemas}/{{{{.ResourceKind}}}}-{{{{.ResourceAPIVersion}}}}.json"
    argv = [tool("kubeconform"), "-strict", "-summary", "-schema-location", location, "-schema-location", core, "-"]
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("sets", VARIANTS.values(), ids=VARIANTS.keys())
def test_rendered_chart(sets: tuple[str, ...], schemas: Path) -> None:
    done = _check(template(*sets), schemas)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path: Path, schemas: Path) -> None:
    done = _check(path.read_text(), schemas)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_example_values(path: Path, schemas: Path) -> None:
    rendered = helm("template", RELEASE, str(CHART), "--values", str(path))
    assert rendered.returncode == 0, rendered.stderr
    done = _check(rendered.stdout, schemas)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_what_the_operator_makes(path: Path, schemas: Path) -> None:
    done = _check(path.read_text(), schemas)
    assert done.returncode == 0, done.stdout


def test_the_oldest_is_what_the_chart_promises_and_the_newest_what_tests_run() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert f"v{NEWEST}." in KUBERNETES


def test_the_oldest_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """Resources of a whole pod came with 1.32: dropped in silence by an older one, and limits with them."""
    (job,) = yaml.safe_load_all((FOLDER / "finetunejob-job.yaml").read_text())
    job["spec"]["template"]["spec"]["resources"] = {"limits": {"memory": "1Gi"}}
    codes = []
    for minor in (OLDEST, NEWEST):
        (tmp_path / minor).mkdir()
        codes.append(_check(yaml.safe_dump(job), _folder(minor, tmp_path / minor)).returncode)
    assert codes == [1, 0]


def test_the_check_notices_mistakes(schemas: Path) -> None:
    for before, after in (("replicas: 1", "replicaz: 1"), ("containerPort: 8080", "containerPort: x")):
        text = template()
        assert before in text
        assert _check(text.replace(before, after), schemas).returncode != 0, after
    example = (ROOT / "manifests/examples/qlora-12gb.yaml").read_text()
    assert _check(example.replace("method: qlora", "metod: qlora"), schemas).returncode != 0


def test_argo_cd_manifests_are_yaml() -> None:
    health = yaml.safe_load((ROOT / "manifests/argocd/health.yaml").read_text())["data"]
    assert health.keys() == {f"resource.customizations.health.kubetune.io_{model.info.kind}" for model in KINDS}
    application = yaml.safe_load((ROOT / "manifests/argocd/application.yaml").read_text())
    assert application["spec"]["source"]["path"] == "charts/kubetune"
