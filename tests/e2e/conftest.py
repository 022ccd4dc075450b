"""One cluster with one installation for the whole session; a fresh namespace for each module."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubetune_shared.store import Store
from tests.demo.environment import Environment, install, installed_values, load_images, local_cluster, user_cluster
from tests.demo.kube import Kube
from tests.demo.seed import Seeder, connect
from tests.demo.settings import Settings, read_settings
from tests.smallmodel.source import SMALL_MODEL

CLUSTER = "e2e"
KEEP = "KUBETUNE_E2E_KEEP"
"""Set it to leave the cluster up for a look, and to find it again in the next run."""
CLUSTER_OF_YOURS = "KUBETUNE_E2E_KUBECONFIG"
"""Names a cluster to test in instead, with KubeTune installed. Not KUBECONFIG: the tests uninstall and reinstall."""


@dataclass(frozen=True)
class Installation:
    """KubeTune in a cluster, with the small base model and its data in its store."""

    environment: Environment
    settings: Settings
    prefix: str

    @property
    def kube(self) -> Kube:
        """The cluster."""
        return self.environment.kube


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """A cluster of this machine's own that is gone afterwards, or the one that is named for the tests."""
    named = os.environ.get(CLUSTER_OF_YOURS)
    if named:
        yield user_cluster(named)
        return
    made = local_cluster(CLUSTER)
    try:
        yield made
    finally:
        if made.local and not os.environ.get(KEEP):
            made.local.down()


@pytest.fixture(scope="session")
def values(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The installation's values: images of this checkout, once they are in the cluster, or what it has already."""
    path = tmp_path_factory.mktemp("values") / "values.yaml"
    path.write_text(load_images(environment.local) if environment.local else installed_values(environment))
    return [path]


@pytest.fixture(scope="session")
def installation(environment: Environment, values: list[Path]) -> Iterator[Installation]:
    """The chart installed, the store seeded."""
    install(environment, values)
    settings = read_settings(environment.kube)
    namespace = "e2e-seed"
    environment.kube.make_namespace(namespace)
    environment.kube.copy_secret(settings.secret, "kubetune", namespace)
    seeder = Seeder(environment.kube, settings, namespace, SMALL_MODEL)
    print(f"\nbase model and data: {seeder.run()}", flush=True)
    yield Installation(environment, settings, seeder.prefix)
    _save_diagnosis(environment.kube)


@pytest.fixture(scope="session")
def kube(installation: Installation) -> Kube:
    """The cluster, once KubeTune is in it."""
    return installation.kube


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest, installation: Installation) -> Iterator[str]:
    """A namespace of the module's own, with the store's credentials."""
    name = re.sub(r"[^a-z0-9]+", "-", f"e2e-{request.module.__name__.rpartition('.')[2].removeprefix('test_')}")
    kube = installation.kube
    kube.run("delete", "namespace", name, "--ignore-not-found", "--wait", timeout=300)
    kube.make_namespace(name)
    kube.copy_secret(installation.settings.secret, "kubetune", name)
    yield name
    if not os.environ.get(KEEP):
        kube.run("delete", "namespace", name, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def store(installation: Installation) -> Iterator[Store]:
    """A client of the installation's object store."""
    with connect(installation.kube, installation.settings) as found:
        yield found


def _save_diagnosis(kube: Kube) -> None:
    """What one would ask for first after a failure, where the test's log does not say enough."""
    folder = Path(tempfile.gettempdir(), "kubetune-e2e")
    folder.mkdir(exist_ok=True)
    for name, arguments in {
        "events": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
        "pods": ("get", "pods", "-A", "-o", "wide"),
        "resources": ("get", "kubetune", "-A", "-o", "yaml"),
        "operator": ("logs", "-n", "kubetune", "-l", "app.kubernetes.io/name=kubetune-operator", "--tail=-1"),
    }.items():
        try:
            (folder / name).write_text(kube.run(*arguments))
        except Exception as error:  # a diagnosis must not hide the failure it is for
            (folder / name).write_text(str(error))
    print(f"\nevents, pods, resources and the operator's log: {folder}", flush=True)
