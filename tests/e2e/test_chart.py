"""The installed chart: its own test, and what an upgrade changes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kubetune_contract import KubeTuneError
from kubetune_shared.store import Store
from tests.demo.environment import RELEASE, SYSTEM_NAMESPACE, install
from tests.demo.kube import Object
from tests.demo.seed import connect
from tests.demo.shell import run

from .conftest import Installation


def test_helm_test_passes(installation: Installation) -> None:
    argv = ["helm", "test", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--timeout", "3m"]
    assert "Succeeded" in run(argv, installation.kube.env, timeout=240)


def test_upgrade_keeps_the_store_its_keys_and_the_objects(installation: Installation, values: list[Path]) -> None:
    before = kept(installation)
    install(installation.environment, values, ("operator.pollSeconds=4",))
    assert kept(installation) == before
    install(installation.environment, values)


def test_a_listed_namespace_gets_a_key_of_its_own(
    installation: Installation, values: list[Path], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of the root key, which the fixture has copied there."""
    kube, settings, environment = installation.kube, installation.settings, installation.environment
    if not environment.local:
        pytest.skip("the list would withdraw the keys of this cluster's own namespaces")
    try:
        install(environment, values, (f"objectStore.credentialNamespaces={{{namespace}}}",))
        secret = kube.get(namespace, "secret", settings.secret)
        assert secret is not None
        with connect(kube, settings) as root:
            for key, value in secret["data"].items():
                monkeypatch.setenv(key, base64.b64decode(value).decode())
            own, bucket = Store(root.config), f"s3://{settings.bucket}"
            own.check_writable(f"{bucket}/finetunejobs/{namespace}/job")
            for elsewhere in (f"{bucket}/finetunejobs/another/job", f"{bucket}/mlflow"):
                with pytest.raises(KubeTuneError, match="refused to write"):
                    own.check_writable(elsewhere)
    finally:
        install(environment, values)


def test_pods_run_without_rights(installation: Installation) -> None:
    for pod in installation.kube.list(SYSTEM_NAMESPACE, "pods"):
        for container in pod["spec"]["containers"]:
            context: Object = (pod["spec"].get("securityContext") or {}) | (container.get("securityContext") or {})
            assert context["runAsNonRoot"] is True, container["name"]
            assert context["readOnlyRootFilesystem"] is True, container["name"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["capabilities"]["drop"] == ["ALL"], container["name"]


def kept(installation: Installation) -> tuple[str, ...]:
    """What an upgrade must not touch: claims and the store's keys."""
    kube = installation.kube
    claims = [str(claim["metadata"]["uid"]) for claim in kube.list(SYSTEM_NAMESPACE, "persistentvolumeclaims")]
    secret = kube.get(SYSTEM_NAMESPACE, "secret", installation.settings.secret)
    assert secret is not None
    return (*sorted(claims), str(secret["data"]))
