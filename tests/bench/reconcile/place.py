"""Where the runs take place: a fresh control plane, and an operator of this checkout."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kubetune.crdgen import KINDS, crd
from tests.cluster import Cluster
from tests.cluster.api import Api, wait_for
from tests.support.objects import store_secret
from tests.support.operator import Operator

NAMESPACE = "bench"


@contextmanager
def fresh_cluster() -> Iterator[Cluster]:
    """A control plane with the CRDs, and a namespace with the keys of the object store."""
    with Cluster(f"bench-{os.getpid()}", control_plane=True, tied=True) as cluster:
        api = Api(cluster.addresses, cluster.layout.pki)
        for model in KINDS:
            api.apply("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(model))
        api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", store_secret())
        for model in KINDS:
            path = f"/apis/kubetune.io/v1alpha1/{model.info.plural}"
            wait_for(f"CRD {model.info.plural}", partial(_answers, api, path), 30, "the logs")
        yield cluster


@contextmanager
def operator_at(cluster: Cluster, **settings: str) -> Iterator[Operator]:
    """One that is not started yet, and is stopped in the end."""
    with tempfile.TemporaryDirectory() as folder:
        operator = Operator(cluster.kubeconfig, Path(folder) / "operator.log", **settings)
        try:
            yield operator
        finally:
            operator.stop()


def _answers(api: Api, path: str) -> bool:
    return bool(api.request("GET", path))
