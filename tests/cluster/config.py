"""Configuration of every component, rendered from the layout and the addresses; pure.

Each setting that is not obvious was needed on some machine; README.md says why.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import API_PORT, DNS_DOMAIN, NODE_NAME, Addresses, Layout

PAUSE_IMAGE = "kubetune.io/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
STORAGE_CLASS = "local-path"
PROVISIONER = "kubetune.io/local-path"

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE = (
    "containerd",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
)


@dataclass(frozen=True)
class Paths:
    """Where one cluster's files are."""

    layout: Layout
    slot: Path | None

    def pki(self, name: str) -> str:
        """A key or certificate."""
        return str(self.layout.pki / name)

    def config(self, name: str) -> str:
        """A rendered configuration file."""
        return str(self.layout.config / name)


def kubeconfig(addresses: Addresses, authority: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """A kubeconfig with everything inside, so that it can be copied anywhere on the machine."""
    encoded = [base64.b64encode(part).decode() for part in (authority, certificate, key)]
    cluster = {"server": addresses.api_url, "certificate-authority-data": encoded[0]}
    user = {"client-certificate-data": encoded[1], "client-key-data": encoded[2]}
    name = "kubetune-test"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def commands(paths: Paths, addresses: Addresses) -> dict[str, list[str]]:
    """Command line of every component; the names are those of ``CONTROL_PLANE`` and ``NODE``."""
    binaries = paths.layout.bin
    arguments = {
        "kube-apiserver": _apiserver(paths, addresses),
        "kube-controller-manager": _controller_manager(paths, addresses),
        "kube-scheduler": [f"--config={paths.config('scheduler.json')}"],
        "containerd": [f"--config={paths.config('containerd.toml')}"],
        "kubelet": _kubelet(paths, addresses),
        "kube-proxy": [f"--config={paths.config('proxy.json')}"],
        "coredns": [f"-conf={paths.config('Corefile')}"],
        "local-path-provisioner": [
            f"--kubeconfig={paths.config('provisioner.json')}",
            f"--node={NODE_NAME}",
            f"--name={PROVISIONER}",
            f"--folder={paths.layout.storage}",
        ],
    }
    argv = {name: [str(binaries / name), *rest] for name, rest in arguments.items()}
    return {"etcd": _etcd(paths), **argv}


def _etcd(paths: Paths) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        "etcd",
        "--name=kubetune",
        f"--data-dir={paths.layout.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=kubetune={peer}",
        "--quota-backend-bytes=8589934592",
        "--unsafe-no-fsync",
    ]


def _apiserver(paths: Paths, addresses: Addresses) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={addresses.node}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={paths.pki('apiserver.crt')}",
        f"--tls-private-key-file={paths.pki('apiserver.key')}",
        f"--client-ca-file={paths.pki('ca.crt')}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
        f"--service-account-key-file={paths.pki('service-account.key')}",
        f"--service-account-signing-key-file={paths.pki('service-account.key')}",
        f"--kubelet-certificate-authority={paths.pki('ca.crt')}",
        f"--kubelet-client-certificate={paths.pki('apiserver-kubelet-client.crt')}",
        f"--kubelet-client-key={paths.pki('apiserver-kubelet-client.key')}",
        # The node's name resolves nowhere, and logs and exec go to the kubelet.
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # The benches measure the operator, so the server must not be what limits it.
        "--max-requests-inflight=3000",
        "--max-mutating-requests-inflight=1500",
    ]


def _controller_manager(paths: Paths, addresses: Addresses) -> list[str]:
    return [
        f"--kubeconfig={paths.config('controller-manager.json')}",
        f"--root-ca-file={paths.pki('ca.crt')}",
        f"--service-account-private-key-file={paths.pki('service-account.key')}",
        f"--cluster-signing-cert-file={paths.pki('ca.crt')}",
        f"--cluster-signing-key-file={paths.pki('ca.key')}",
        f"--service-cluster-ip-range={addresses.services}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        # Without a kubelet, tests bind pods to a node that does not exist; these would be deleted within a minute.
        *([] if paths.slot else ["--controllers=*,-pod-garbage-collector-controller"]),
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    ]


def _kubelet(paths: Paths, addresses: Addresses) -> list[str]:
    return [
        f"--config={paths.config('kubelet.json')}",
        f"--kubeconfig={paths.config('kubelet-client.json')}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={addresses.node}",
    ]


def kubelet(paths: Paths, addresses: Addresses, open_files: int) -> dict[str, Any]:
    """KubeletConfiguration; open_files is the hard limit that this process may not exceed."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": paths.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": paths.pki("kubelet.crt"),
        "tlsPrivateKeyFile": paths.pki("kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{paths.layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(addresses.dns)],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": paths.config("resolv.conf"),
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        # Images come from archives and no registry could give them back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxOpenFiles": open_files,
        "oomScoreAdj": 0,
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        # Pod starts are what the tests wait for.
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def proxy(paths: Paths, addresses: Addresses) -> dict[str, Any]:
    """KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": paths.config("proxy-client.json")},
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": str(addresses.pods),
        "mode": "nftables",
        # The table's size is the machine's and may not be changed from a network namespace.
        "conntrack": {"maxPerCore": 0},
        "nftables": {"minSyncPeriod": "100ms"},
        "oomScoreAdj": 0,
    }


def scheduler(paths: Paths) -> dict[str, Any]:
    """KubeSchedulerConfiguration."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": paths.config("scheduler-client.json"), "qps": 500},
        "leaderElection": {"leaderElect": False},
    }


def containerd(slot: Path, cni_config: str, cni_binaries: str, runc: str) -> str:
    """containerd's configuration, version 3."""
    return f"""\
version = 3
root = {json.dumps(str(slot / "root"))}
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.differ.v1.erofs",
  "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{json.dumps(cni_binaries)}]
  conf_dir = {json.dumps(cni_config)}
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = {json.dumps(runc)}
  SystemdCgroup = false
"""


def without_cri(containerd_config: str) -> str:
    """The same configuration without the plugins that remember pods: for clearing a slot out."""
    return containerd_config.replace(
        "disabled_plugins = [",
        'disabled_plugins = [\n  "io.containerd.grpc.v1.cri",'
        '\n  "io.containerd.cri.v1.runtime",\n  "io.containerd.cri.v1.images",',
    )


def cni(addresses: Addresses) -> dict[str, Any]:
    """Pod network: one routed link per pod, so that no pod reaches another around kube-proxy."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": str(addresses.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni/addresses",
    }
    return {
        "cniVersion": "0.4.0",
        "name": "kubetune",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def corefile(paths: Paths, addresses: Addresses) -> str:
    """CoreDNS: the cluster's names, and a quick no for all others, as nothing outside is there."""
    return f"""{DNS_DOMAIN}:53 in-addr.arpa:53 {{
    bind {addresses.node}
    errors
    health 127.0.0.1:8080
    kubernetes {DNS_DOMAIN} in-addr.arpa {{
        kubeconfig {paths.config("coredns.json")} kubetune-test
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    bind {addresses.node}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""
