"""A control plane of its own for the integration tests, with the CRDs of this checkout."""

from __future__ import annotations

import time
from collections.abc import Iterator

import kubernetes.client
import kubernetes.config
import kubernetes.utils
import pytest
from kubernetes.client.exceptions import ApiException

from kubetune.common.meta import GROUP, VERSION
from kubetune.crdgen import KINDS, crd
from tests.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """API server, etcd and controller-manager; gone with the test process."""
    with Cluster("integration", control_plane=True, tied=True) as up:
        yield up


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> kubernetes.client.ApiClient:
    """An administrator's client; the CRDs are installed and served."""
    client: kubernetes.client.ApiClient
    client = kubernetes.config.new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
    documents = [crd(model) for model in KINDS]
    kubernetes.utils.create_from_yaml(client, yaml_objects=documents)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + 30
    while not _all_served(client):
        assert time.monotonic() < deadline, "the API server does not serve the CRDs"
        time.sleep(0.1)
    return client


def _all_served(client: kubernetes.client.ApiClient) -> bool:
    objects = kubernetes.client.CustomObjectsApi(client)
    try:
        for model in KINDS:
            objects.list_cluster_custom_object(GROUP, VERSION, model.info.plural, limit=1)
    except ApiException as error:
        if error.status == 404:
            return False
        raise
    return True
