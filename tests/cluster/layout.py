"""Names, folders and addresses of a cluster: pure values that every other module agrees on."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_NAME = "kubetune"
DNS_DOMAIN = "cluster.local"
API_PORT = 6443

# RFC 2544's benchmark range: no home or office network uses it, so routes to it shadow nothing.
ADDRESS_POOL = IPv4Network("198.18.0.0/15")
MAX_CLUSTERS = 32

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache_root() -> Path:
    """Folder that holds everything built and every cluster's state; outside the repository."""
    configured = os.environ.get("KUBETUNE_CACHE")
    root = Path(configured).expanduser() if configured else Path.home() / ".cache" / "kubetune"
    return root.absolute()


def check_name(name: str) -> str:
    """Return the cluster's name, or raise ValueError saying which names are allowed."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"cluster name {name!r} is not usable: take 1 to 32 of a-z, 0-9 and '-', not starting or ending with '-'"
        )
    return name


@dataclass(frozen=True)
class Addresses:
    """The address plan of one cluster: one /20 of the pool, chosen by a number from 0 to 31."""

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_CLUSTERS:
            raise ValueError(f"cluster number {self.index} is not in 0..{MAX_CLUSTERS - 1}")

    @property
    def block(self) -> IPv4Network:
        """Everything that is routed to the cluster from the host."""
        base = int(ADDRESS_POOL.network_address) + self.index * 4096
        return IPv4Network((base, 20))

    @property
    def interface(self) -> str:
        """The host's end of the veth pair; its name is the machine-wide lock on the number."""
        return f"kubetune{self.index}"

    @property
    def link(self) -> IPv4Network:
        """Host and node."""
        return IPv4Network((int(self.block.network_address), 30))

    @property
    def host(self) -> IPv4Address:
        """The machine, as the cluster sees it."""
        return self.link[1]

    @property
    def node(self) -> IPv4Address:
        """The node, reachable from the machine."""
        return self.link[2]

    @property
    def pods(self) -> IPv4Network:
        """Pod addresses: 1022."""
        return IPv4Network((int(self.block.network_address) + 1024, 22))

    @property
    def services(self) -> IPv4Network:
        """ClusterIPs: 2046."""
        return IPv4Network((int(self.block.network_address) + 2048, 21))

    @property
    def dns(self) -> IPv4Address:
        """ClusterIP of the cluster's name server."""
        return self.services[10]

    @property
    def api_url(self) -> str:
        """URL of the API server, the same from the machine, the node and a pod."""
        return f"https://{self.node}:{API_PORT}"


@dataclass(frozen=True)
class Layout:
    """Folders of one cluster in the cache."""

    name: str
    root: Path

    @property
    def state(self) -> Path:
        """Everything that lives and dies with the cluster."""
        return self.root / "clusters" / self.name

    @property
    def bin(self) -> Path:
        """Binaries built for the current versions."""
        return self.root / "bin"

    @property
    def pki(self) -> Path:
        """Keys and certificates; only root reads it."""
        return self.state / "pki"

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.state / "config"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig, usable from the machine and inside the cluster."""
        return self.state / "kubeconfig"

    @property
    def control(self) -> Path:
        """FIFO on which the supervisor takes its commands."""
        return self.state / "control"

    @property
    def components(self) -> Path:
        """The supervisor's account of its components, JSON."""
        return self.state / "components.json"

    @property
    def storage(self) -> Path:
        """Data of persistent volumes."""
        return self.state / "storage"

    @property
    def cgroup(self) -> str:
        """Cgroup below which the kubelet puts every pod, relative to each hierarchy's root.

        The cache's digest keeps clusters of one name in two caches apart.
        """
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:6]
        return f"kubetune-{self.name}-{digest}"


def layout(name: str) -> Layout:
    """Folders of the named cluster in the configured cache."""
    return Layout(check_name(name), cache_root())
