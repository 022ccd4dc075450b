"""Uninstalling leaves data and custom resources; it runs last, since nothing works afterwards."""

from __future__ import annotations

from pathlib import Path

from kubetune_shared.artifacts import read_manifest
from tests.demo.environment import SYSTEM_NAMESPACE, install, uninstall
from tests.demo.seed import connect

from .conftest import Installation
from .resources import fine_tune_job


def test_uninstall_keeps_claims_and_custom_resources_and_a_new_install_finds_them(
    installation: Installation, namespace: str, values: list[Path]
) -> None:
    kube = installation.kube
    kube.apply(namespace, [fine_tune_job("kept", installation.prefix, 1, suspend=True)])
    claims = {claim["metadata"]["uid"] for claim in kube.list(SYSTEM_NAMESPACE, "persistentvolumeclaims")}
    assert claims
    uninstall(installation.environment)
    assert {claim["metadata"]["uid"] for claim in kube.list(SYSTEM_NAMESPACE, "persistentvolumeclaims")} == claims
    assert kube.get(namespace, "finetunejob", "kept") is not None
    assert not kube.list(SYSTEM_NAMESPACE, "deployments")
    install(installation.environment, values)
    with connect(kube, installation.settings) as store:
        assert read_manifest(store, f"{installation.prefix}/base") is not None
    assert kube.get(namespace, "finetunejob", "kept") is not None
