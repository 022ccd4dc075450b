"""KubeTune as its chart installs it, where no node runs the operator's pod: the test runs it as a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chart.helm import environment
from tests.cluster import Cluster
from tests.cluster.api import Api

from .account import account_kubeconfig
from .kube import Kube, Kubelet
from .operator import Operator
from .shell import Shell

TEAM = "team-a"
"""The namespace of its user."""
QUICK = {"poll_seconds": "0.3", "progress_write_seconds": "0.5"}


@dataclass(frozen=True)
class Installation:
    """One cluster with one release of KubeTune, and one namespace of its user."""

    cluster: Cluster
    api: Api
    shell: Shell
    kube: Kube
    kubelet: Kubelet
    folder: Path

    @contextmanager
    def operator(self, root: Path) -> Iterator[Operator]:
        """That of the checkout at ``root``, with what the chart gives it now: environment, account and rights."""
        namespace, config = self.shell.namespace, self.folder / "kubeconfig"
        account_kubeconfig(self.api, self.cluster.layout.pki, namespace, "kubetune-operator", config)
        with Operator(config, self.folder / "operator.log", **(self.settings() | QUICK)).of(root) as operator:
            yield operator

    def settings(self) -> dict[str, str]:
        """What the chart gives its operator now."""
        pod = self.shell.get("deployment", "kubetune-operator")["spec"]["template"]["spec"]
        given = {name.removeprefix("KUBETUNE_").lower(): value for name, value in environment(pod).items()}
        return {name: value for name, value in given.items() if name != "http_port"}


@contextmanager
def empty_cluster(name: str, release: str, folder: Path) -> Iterator[Installation]:
    """With the namespaces of release and user, and nothing in them."""
    with Cluster(f"{name}-{os.getpid()}", control_plane=True, tied=True) as cluster:
        api = Api(cluster.addresses, cluster.layout.pki)
        shell = Shell(cluster, str(folder / "helm"), release)
        for namespace in (release, TEAM):
            shell.run("kubectl", "create", "namespace", namespace)
        kube = Kube(api, TEAM)
        yield Installation(cluster, api, shell, kube, Kubelet(kube), folder)
