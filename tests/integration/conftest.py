"""A control plane of its own for the integration tests, with the CRDs of this checkout.

API server, etcd and controller-manager are real; there is no node, so where a kubelet would write a pod's status the
tests do it (``tests.support.kube.Kubelet``), as Kubernetes' own envtest leaves it to its users.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kubernetes.aio.config.kube_config
import kubernetes.client
import kubernetes.config.kube_config
import kubernetes.utils
import pytest
from kubernetes.client.exceptions import ApiException

from kubetune.common.meta import GROUP, VERSION
from kubetune.crdgen import KINDS, crd
from tests.chart.helm import NAMESPACE, render
from tests.cluster import Cluster
from tests.cluster.api import Api
from tests.support.kube import Kube, Kubelet
from tests.support.objects import store_secret
from tests.support.operator import Operator
from tests.support.proxy import Proxy, write_kubeconfig

HOME = "default"
"""Namespace of the operator's account and lease."""
SUFFIX = "-of-the-suite"


def pytest_sessionfinish() -> None:
    """Removes the keys that the clients wrote out for OpenSSL: a worker of xdist ends without what atexit would do."""
    for module in (kubernetes.config.kube_config, kubernetes.aio.config.kube_config):
        module._cleanup_temp_files()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """API server, etcd and controller-manager; gone with the test process."""
    with Cluster(f"integration-{os.getpid()}", control_plane=True, tied=True) as up:
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


@pytest.fixture(scope="session")
def admin(cluster: Cluster, api: kubernetes.client.ApiClient) -> Api:
    """Plain requests as the administrator; ``api`` has installed the CRDs."""
    return Api(cluster.addresses, cluster.layout.pki)


@pytest.fixture(scope="session")
def account(admin: Api) -> str:
    """A user with the rights that the chart gives the operator, and no others. Its lease is in namespace default."""
    for obj in render():
        if obj["apiVersion"].startswith("rbac.") or obj["kind"] == "ServiceAccount":
            admin.request("POST", *_of_the_suite(obj))
    return f"system:serviceaccount:{HOME}:kubetune-operator"


def _of_the_suite(obj: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where to post it, and the object under a name that no test's own release has."""
    text = json.dumps(obj).replace(f'"namespace": "{NAMESPACE}"', f'"namespace": "{HOME}"')
    made: dict[str, Any] = json.loads(text)
    if made["kind"].startswith("Cluster"):
        made["metadata"]["name"] += SUFFIX
        if "roleRef" in made:
            made["roleRef"]["name"] += SUFFIX
    place = "" if made["kind"].startswith("Cluster") else f"/namespaces/{HOME}"
    base = "/api/v1" if made["kind"] == "ServiceAccount" else "/apis/rbac.authorization.k8s.io/v1"
    return f"{base}{place}/{made['kind'].lower()}s", made


@pytest.fixture(scope="session")
def proxy(cluster: Cluster, admin: Api, account: str) -> Iterator[Proxy]:
    """Between the operator and the API server, which takes the operator for ``account``."""
    with Proxy(f"https://{admin.host}:6443", cluster.layout.pki, account) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def kubeconfig(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leads to the proxy."""
    return write_kubeconfig(tmp_path_factory.mktemp("operator") / "kubeconfig", proxy.url)


@pytest.fixture(scope="session")
def operator(kubeconfig: Path) -> Iterator[Operator]:
    """One operator for all tests, behind the proxy; quick to look at running pods."""
    log = kubeconfig.with_name("operator.log")
    with Operator(kubeconfig, log, poll_seconds="0.3", progress_write_seconds="0.5").kept() as running:
        yield running


@pytest.fixture
def kube(bare: Kube) -> Kube:
    """A fresh namespace with the object store's keys."""
    bare.create("secret", store_secret())
    return bare


@pytest.fixture
def bare(admin: Api) -> Iterator[Kube]:
    """A fresh namespace with nothing in it."""
    name = f"test-{uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    admin.request("POST", "/api/v1/namespaces", body)
    yield Kube(admin, name)
    admin.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubelet(kube: Kube) -> Kubelet:
    """Plays the kubelet in that namespace."""
    return Kubelet(kube)
