"""What the chart renders, with its defaults and with each thing replaced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kubetune.settings import Settings
from tests.chart.helm import CHART, NAMESPACE, environment, helm, kinds, named, pods, render, template
from tests.support.golden import assert_golden_text

GOLDEN = Path(__file__).with_name("golden.yaml")
EXTERNAL = ("objectStore.external.endpoint=https://s3.example.com", "tracking.external.uri=http://mlflow.example.com")


def test_the_operator_knows_whose_the_secret_is() -> None:
    """So that a missing Secret's message can say where to copy it from."""

    def told(*sets: str) -> str:
        env = named(render(*sets), "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]["env"]
        found: str = next(one["value"] for one in env if one["name"] == "KUBETUNE_STORE_SECRET_NAMESPACE")
        return found

    assert told() == NAMESPACE
    assert told("objectStore.external.endpoint=https://s3.example.com") == ""
    assert told("objectStore.createSecret=false") == ""


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def _golden_text() -> str:
    """The default rendering without the CRDs (crds/ is compared elsewhere), and without what is random."""
    text = re.sub(r"(AWS_\w+): \S+", r"\1: <random>", template())
    documents = [part for part in text.split("\n---\n") if "kind: CustomResourceDefinition" not in part]
    return "\n---\n".join(documents)


def test_default_rendering_is_the_one_that_was_reviewed() -> None:
    assert_golden_text(GOLDEN, _golden_text())


def test_user_data_outlives_the_release() -> None:
    kept = [obj for obj in render() if obj["kind"] in ("PersistentVolumeClaim", "CustomResourceDefinition", "Secret")]
    assert len(kept) == 7
    for obj in kept:
        assert obj["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", obj["metadata"]["name"]


def test_crds_can_be_left_to_somebody_else() -> None:
    assert "CustomResourceDefinition" not in kinds(render("crds.install=false"))
    unkept = named(render("crds.keep=false"), "CustomResourceDefinition", "finetunejobs.kubetune.io")
    assert "annotations" not in unkept["metadata"]


def test_one_value_replaces_the_object_store() -> None:
    objects = render(EXTERNAL[0])
    names = {obj["metadata"]["name"] for obj in objects}
    assert not any("object-store" in name for name in names), names
    assert "Secret" not in kinds(objects)
    for deployment, variable in (("operator", "KUBETUNE_STORE_ENDPOINT"), ("mlflow", "MLFLOW_S3_ENDPOINT_URL")):
        pod = named(objects, "Deployment", deployment)["spec"]["template"]["spec"]
        assert environment(pod)[variable] == "https://s3.example.com"


@pytest.mark.law("F30")
def test_aws_itself() -> None:
    objects = render("objectStore.external.aws=true", "objectStore.region=eu-central-1")
    assert not any("object-store" in obj["metadata"]["name"] for obj in objects)
    operator = named(objects, "Deployment", "operator")["spec"]["template"]["spec"]
    assert environment(operator)["KUBETUNE_STORE_ENDPOINT"] == "", "which is AWS to every client"
    mlflow = named(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]
    assert "MLFLOW_S3_ENDPOINT_URL" not in environment(mlflow), "an empty one would be no URL"
    assert environment(mlflow)["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_one_value_replaces_mlflow() -> None:
    objects = render(EXTERNAL[1])
    assert not any(obj["metadata"]["name"].endswith("mlflow") for obj in objects)
    operator = named(objects, "Deployment", "operator")["spec"]["template"]["spec"]
    assert environment(operator)["KUBETUNE_TRACKING_URI"] == "http://mlflow.example.com"


def test_the_key_to_mlflow_is_that_of_an_external_one() -> None:
    def told(*sets: str) -> str:
        pod = named(render("tracking.external.secretName=tracker", *sets), "Deployment", "operator")["spec"]["template"]
        return environment(pod["spec"])["KUBETUNE_TRACKING_SECRET"]

    assert told(EXTERNAL[1]) == "tracker"
    assert told() == "", "the embedded server asks for none"


def test_tracking_can_be_off() -> None:
    objects = render("tracking.enabled=false")
    assert not any(obj["metadata"]["name"].endswith("mlflow") for obj in objects)
    operator = named(objects, "Deployment", "operator")["spec"]["template"]["spec"]
    assert environment(operator)["KUBETUNE_TRACKING_URI"] == ""


def test_a_claim_of_ones_own() -> None:
    objects = render("objectStore.persistence.existingClaim=mine", "tracking.persistence.existingClaim=mine")
    assert "PersistentVolumeClaim" not in kinds(objects)
    for name in ("object-store", "mlflow"):
        volumes = named(objects, "Deployment", name)["spec"]["template"]["spec"]["volumes"]
        assert volumes[0]["persistentVolumeClaim"]["claimName"] == "mine"


def test_the_operator_understands_every_variable() -> None:
    operator = named(render(*EXTERNAL, "namespaces={a,b}"), "Deployment", "operator")["spec"]["template"]["spec"]
    variables = environment(operator)
    fields = {f"KUBETUNE_{name.upper()}" for name in Settings.__annotations__}
    assert variables.keys() <= fields
    assert fields - variables.keys() == {"KUBETUNE_POD_NAME"}, "which the pod itself tells"
    settings = Settings.from_env(variables)
    assert settings.namespaces == ("a", "b")
    assert settings.store_endpoint == "https://s3.example.com"
    assert settings.server_cpu_image != settings.server_image


@pytest.mark.parametrize("domain", ["cluster.local", "example.internal"])
def test_mlflow_answers_to_the_name_it_is_called_by(domain: str) -> None:
    objects = render(f"clusterDomain={domain}", "tracking.allowedHosts={mlflow.example.com}")
    operator = named(objects, "Deployment", "operator")["spec"]["template"]["spec"]
    host = environment(operator)["KUBETUNE_TRACKING_URI"].removeprefix("http://")
    mlflow = named(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]
    (allowed,) = (arg.partition("=")[2].split(",") for arg in mlflow["args"] if arg.startswith("--allowed-hosts="))
    assert {host, host.partition(":")[0], "mlflow.example.com"} <= set(allowed)
    assert host.endswith(f".{NAMESPACE}.svc.{domain}:5000")


def test_secrets_can_be_left_to_somebody_else() -> None:
    objects = render("objectStore.createSecret=false", "objectStore.credentialNamespaces={team-a}")
    assert "Secret" not in kinds(objects)
    volumes = named(objects, "Job", "-buckets")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "accounts", "secret": {"secretName": "kubetune-object-store-accounts", "optional": True}} in volumes


def test_images_come_from_one_registry_when_asked() -> None:
    sets = ("images.registry=registry.example.com/x/", "images.pullSecrets[0].name=pull", "images.trainer.tag=7a")
    objects = render(*sets)
    operator = named(objects, "Deployment", "operator")["spec"]["template"]["spec"]
    assert environment(operator)["KUBETUNE_TRAINER_IMAGE"] == ("registry.example.com/x/localhost/kubetune/trainer:7a")
    assert environment(operator)["KUBETUNE_IMAGE_PULL_SECRETS"] == "pull", "for the pods of workloads"
    for name, pod in pods(objects):
        assert pod["imagePullSecrets"] == [{"name": "pull"}], name
        assert all(container["image"].startswith("registry.example.com/x/") for container in pod["containers"]), name


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("operator.worker=1", "additional properties 'worker' not allowed"),
        ("operator.workers=0", "minimum"),
        ("objectStore.bucket=ab", "does not match pattern"),
        ("objectStore.external.aws=true,objectStore.external.endpoint=http://x", "value must be ''"),
        ("tracking.external.uri=mlflow:5000", "does not match pattern"),
        ("tracking.external.uri=http://me:secret@mlflow:5000", "does not match pattern"),
        ("images.pullPolicy=Sometimes", "value must be one of"),
        ("namespaces={Team_A}", "does not match pattern"),
        ("objectStore.sharedPrefixes={base-models}", "does not match pattern"),
        ("objectStore.sharedPrefixes={*/}", "does not match pattern"),
        ("objectStore.sharedPrefixes={/}", "does not match pattern"),
        ("objectStore.sharedPrefixes={s3://base}", "does not match pattern"),
        ("objectStore.namespacePrefixes.team-a={a?/}", "does not match pattern"),
    ],
)
def test_wrong_values_are_refused(value: str, complaint: str) -> None:
    done = helm("template", "x", str(CHART), "--set", value)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_every_value_is_described_by_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"}
    for part, members in values.items():
        if isinstance(members, dict):
            assert members.keys() == schema["properties"][part]["properties"].keys(), part


@pytest.mark.law("F30")
@pytest.mark.parametrize(
    "sets",
    [(), EXTERNAL, ("namespaces={team-a}",), ("objectStore.external.aws=true",)],
    ids=["default", "external", "namespaced", "aws"],
)
def test_notes_say_the_next_command(sets: tuple[str, ...]) -> None:
    argv = [part for value in sets for part in ("--set", value)]
    done = helm("install", "x", str(CHART), "-n", NAMESPACE, "--dry-run=client", *argv)
    notes = done.stdout.partition("NOTES:")[2]
    assert f"helm test x -n {NAMESPACE}" in notes, done.stderr
    assert "kubectl apply" in notes
    assert "kubetune-object-store" in notes


@pytest.mark.parametrize("script", sorted((CHART / "files").glob("*.py")), ids=lambda path: path.name)
def test_scripts_reach_their_pods_unchanged(script: Path) -> None:
    text = script.read_text()
    compile(text, script, "exec")
    commands = [pod["containers"][0].get("command", []) for _, pod in pods(render())]
    assert any(text.strip() == part.strip() for command in commands for part in command)
