"""The chart on a real API server: installed, upgraded, uninstalled and installed again; the user's data stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.chart.helm import CHART, tool
from tests.cluster import Cluster
from tests.integration.crd_objects import VALID
from tests.support.shell import Shell

NAMESPACE = "kubetune-system"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with Cluster("chart", control_plane=True, tied=True) as cluster:
        yield Shell(cluster, str(tmp_path_factory.mktemp("helm")), NAMESPACE)


@pytest.fixture(scope="module")
def installed(shell: Shell) -> Shell:
    shell.run("kubectl", "create", "namespace", "team-a")
    labels = "pod-security.kubernetes.io/enforce=restricted"
    shell.run("kubectl", "create", "namespace", NAMESPACE)
    shell.run("kubectl", "label", "namespace", NAMESPACE, labels)
    shell.helm("install", str(CHART), "--set", "objectStore.credentialNamespaces={team-a}")
    shell.namespace_keys()
    shell.run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    shell.run("kubectl", "apply", "-n", NAMESPACE, "-f", "-", text=yaml.safe_dump(VALID["FineTuneJob"][0]))
    return shell


def test_pods_are_admitted_where_only_restricted_ones_are(installed: Shell) -> None:
    for name in ("kubetune-operator", "kubetune-object-store", "kubetune-mlflow"):
        pod = installed.get("deployment", name)["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": name, **pod["metadata"]}}
        argv = ("kubectl", "create", "--dry-run=server", "-n", NAMESPACE, "-f", "-")
        assert "created" in installed.run(*argv, text=yaml.safe_dump(pod))


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("patch", "jobs.batch", "yes"),
        ("patch", "finetunejobs.kubetune.io/status", "yes"),
        ("create", "evaluations.kubetune.io", "yes"),
        ("list", "nodes", "yes"),
        ("patch", "finetunejobs.kubetune.io", "no"),
        ("create", "secrets", "yes"),
        ("get", "secrets", "no"),
        ("list", "secrets", "no"),
        ("patch", "secrets", "no"),
        ("create", "pods", "no"),
        ("create", "pods/exec", "no"),
    ],
)
def test_rights_of_the_operator(installed: Shell, verb: str, resource: str, allowed: str) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:kubetune-operator"
    resource, _, subresource = resource.partition("/")
    argv = [tool("kubectl"), "auth", "can-i", verb, resource, "--subresource", subresource, "-n", "team-a"]
    done = subprocess.run([*argv, "--as", user], capture_output=True, text=True, check=False, env=installed.env)
    assert done.stdout.strip() == allowed


@pytest.mark.parametrize(("name", "allowed"), [("nvidia", "yes"), ("gvisor", "no")])
def test_one_runtime_class_may_be_looked_up(installed: Shell, name: str, allowed: str) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:kubetune-operator"
    argv = [tool("kubectl"), "auth", "can-i", "get", f"runtimeclasses.node.k8s.io/{name}", "--as", user]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=installed.env)
    assert done.stdout.strip() == allowed


def test_upgrade_keeps_keys_and_updates_crds(installed: Shell) -> None:
    before = keys(installed)
    installed.run("kubectl", "label", "crd", "finetunejobs.kubetune.io", "app.kubernetes.io/name-", "--overwrite")
    installed.helm("upgrade", str(CHART), "--reset-then-reuse-values", "--set", "operator.workers=4")
    installed.namespace_keys()
    assert keys(installed) == before
    root, accounts, own = before
    assert own["AWS_SECRET_ACCESS_KEY"] == accounts["team-a"] != root["AWS_SECRET_ACCESS_KEY"]
    installed.helm("upgrade", str(CHART), "--set", "objectStore.credentialNamespaces={team-a,team-b}")
    assert keys(installed)[1]["team-a"] == accounts["team-a"], "who comes later changes nobody's key"
    assert (
        installed.get("crd", "finetunejobs.kubetune.io")["metadata"]["labels"]["app.kubernetes.io/name"] == "kubetune"
    )


def keys(installed: Shell) -> list[dict[str, str]]:
    """Root key, accounts, and the key of team-a."""
    own = installed.run("kubectl", "get", "secret", "kubetune-object-store", "-n", "team-a", "-o", "yaml")
    names = ("kubetune-object-store", "kubetune-object-store-accounts")
    return [*(installed.get("secret", name)["data"] for name in names), yaml.safe_load(own)["data"]]


def test_uninstall_leaves_user_data_and_a_new_release_takes_it_over(installed: Shell) -> None:
    claim = installed.get("pvc", "kubetune-object-store")["metadata"]["uid"]
    job = installed.get("finetunejob", "demo")["metadata"]["uid"]
    before = installed.get("secret", "kubetune-object-store")["data"]
    installed.helm("uninstall")
    assert not installed.get("deployment", "kubetune-operator")
    assert not installed.get("clusterrole", "kubetune-operator")
    for kind, name, uid in (("pvc", "kubetune-object-store", claim), ("finetunejob", "demo", job)):
        assert installed.get(kind, name)["metadata"]["uid"] == uid
    installed.helm("install", str(CHART))
    assert installed.get("pvc", "kubetune-object-store")["metadata"]["uid"] == claim
    assert installed.get("finetunejob", "demo")["metadata"]["uid"] == job
    assert installed.get("secret", "kubetune-object-store")["data"] == before
