"""From a chart that copied the root key into every namespace to keys of their own, by helm with its hooks, and back."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, tool
from tests.support.installation import TEAM, Installation, empty_cluster
from tests.support.kube import Kube, Kubelet
from tests.support.points import Record

RELEASE = "kubetune"
JOB = "kubetune-object-store-buckets"
LISTED = ("--set", f"objectStore.credentialNamespaces={{{TEAM}}}")
BEFORE = """
{{- range list .Release.Namespace "team-a" }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ $.Values.objectStore.secretName }}
  namespace: {{ . }}
  annotations: {helm.sh/resource-policy: keep}
stringData: {AWS_ACCESS_KEY_ID: root, AWS_SECRET_ACCESS_KEY: secret}
{{- end }}
"""


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A chart as it was, as far as its Secrets go."""
    made = tmp_path / "before"
    shutil.copytree(CHART, made)
    (made / "templates/object-store-secret.yaml").write_text(BEFORE)
    return made


@pytest.fixture
def installed(tmp_path: Path, before: Path) -> Iterator[Installation]:
    with empty_cluster("storekeys", RELEASE, tmp_path) as found:
        found.shell.helm("install", str(before))
        yield found


def upgrade(installed: Installation, *argv: str) -> subprocess.Popen[str]:
    """With hooks, while the test plays the node."""
    whole = [tool("helm"), "upgrade", RELEASE, str(CHART), "--namespace", RELEASE, *LISTED, *argv]
    return subprocess.Popen(whole, env=installed.shell.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def key_of(installed: Installation, namespace: str) -> list[str]:
    argv = ("kubectl", "get", "secret", "kubetune-object-store", "-n", namespace, "-o", "yaml")
    data = yaml.safe_load(installed.shell.run(*argv))["data"]
    return [base64.b64decode(data[name]).decode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]


def test_a_namespace_is_given_its_own_key_once_the_store_knows_it(
    installed: Installation, record_property: Record
) -> None:
    root = ["root", "secret"]
    assert key_of(installed, TEAM) == root

    late = upgrade(installed, "--timeout", "5s")
    said = late.communicate(timeout=120)[0]
    assert late.returncode != 0, said
    assert key_of(installed, TEAM) == root, "a store that does not get ready locks nobody out"

    installed.shell.run("kubectl", "delete", "job", JOB, "-n", RELEASE, "--cascade=foreground")
    kubelet = Kubelet(Kube(installed.api, RELEASE))
    done = upgrade(installed, "--timeout", "90s")
    pod = kubelet.pod_of(JOB)
    kubelet.run(pod)
    assert key_of(installed, TEAM) == root, "which opens the store all the while"
    kubelet.succeed(pod, "")
    said = done.communicate(timeout=120)[0]
    assert done.returncode == 0, said
    access, secret = key_of(installed, TEAM)
    assert access == TEAM
    accounts = installed.shell.get("secret", "kubetune-object-store-accounts")["data"]
    assert base64.b64decode(accounts[TEAM]).decode() == secret
    assert key_of(installed, RELEASE) == root, "running pods and MLflow go on with it"

    installed.shell.run("kubectl", "delete", "secret", "kubetune-object-store", "-n", TEAM)
    installed.shell.helm("rollback", "1")
    assert key_of(installed, TEAM) == root
    record_property(
        "point",
        "helm upgrade from one key for all: a namespace's Secret is replaced after the Job that makes its account, is "
        "left alone when that does not end, and comes back with the rollback",
    )
