"""The installed chart: its own test, and what an upgrade changes."""

from __future__ import annotations

from pathlib import Path

from tests.demo.environment import RELEASE, SYSTEM_NAMESPACE, install
from tests.demo.kube import Object
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
