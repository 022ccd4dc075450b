"""Writes a cluster's files: certificates, configuration, kubeconfigs and the supervisor's plan."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

from . import config, pki
from .config import Paths
from .layout import NODE_NAME, Addresses, Layout
from .namespaces import ClusterError

# The kubelet would set these for the whole machine; it finds the values it wants and sets nothing.
KUBELET_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# Folders that the node's programs have fixed names for; each cluster has its own behind the name.
NODE_FOLDERS = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers")
CLIENTS = {
    "controller-manager.json": "controller-manager",
    "scheduler-client.json": "scheduler",
    "kubelet-client.json": "kubelet",
    "proxy-client.json": "proxy",
    "coredns.json": "coredns",
    "provisioner.json": "provisioner",
}


def find_tool(name: str) -> str:
    """Path of an installed program; root's PATH may lack the sbin folders."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise ClusterError(f"{name} is not installed: run 'python3 -m tests.cluster build'")
    return found


def write_private(path: Path, content: str) -> None:
    """Write a file that only root reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)


def write(layout: Layout, addresses: Addresses, slot: Path | None) -> None:
    """Write everything that the components read."""
    paths = Paths(layout, slot)
    pki.create(layout.pki, pki.identities(addresses))
    for name, identity in CLIENTS.items():
        write_private(layout.config / name, _kubeconfig(layout, addresses, identity))
    write_private(layout.config / "scheduler.json", json.dumps(config.scheduler(paths)))
    if slot:
        _write_node(paths, addresses, slot)


def _kubeconfig(layout: Layout, addresses: Addresses, identity: str) -> str:
    parts = [(layout.pki / n).read_bytes() for n in ("ca.crt", f"{identity}.crt", f"{identity}.key")]
    return json.dumps(config.kubeconfig(addresses, *parts), indent=1)


def write_kubeconfig(layout: Layout, addresses: Addresses) -> None:
    """Publish the administrator's kubeconfig; its presence says that the cluster is up."""
    temporary = layout.kubeconfig.with_suffix(".tmp")
    write_private(temporary, _kubeconfig(layout, addresses, "admin"))
    temporary.replace(layout.kubeconfig)


def _write_node(paths: Paths, addresses: Addresses, slot: Path) -> None:
    folder = paths.layout.config
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    kubelet = config.kubelet(paths, addresses, min(open_files, 1_000_000))
    write_private(folder / "kubelet.json", json.dumps(kubelet, indent=1))
    write_private(folder / "proxy.json", json.dumps(config.proxy(paths, addresses), indent=1))
    write_private(folder / "Corefile", config.corefile(paths, addresses))
    write_private(folder / "resolv.conf", f"nameserver {addresses.node}\n")
    network = json.dumps(config.cni(addresses), indent=1)
    write_private(folder / "cni" / "10-kubetune.conflist", network)
    for janitor in (False, True):
        text = config.containerd(slot, str(folder / "cni"), "/usr/lib/cni", find_tool("runc"))
        name = "containerd-janitor.toml" if janitor else "containerd.toml"
        write_private(folder / name, config.without_cri(text) if janitor else text)


def plan(layout: Layout, addresses: Addresses, slot: Path | None, locks: list[int], tied: bool) -> dict[str, Any]:
    """What the supervisor needs to know."""
    names = config.CONTROL_PLANE + (config.NODE if slot else ())
    commands = config.commands(Paths(layout, slot), addresses)
    path = f"{layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # Whatever proxy the machine uses for the internet, nothing here goes through it.
    env = {"PATH": path, "NO_PROXY": "*", "no_proxy": "*"}
    return {
        "hostname": NODE_NAME,
        "tied": tied,
        "locks": locks,
        "control": str(layout.control),
        "accounts": str(layout.components),
        "logs": str(layout.logs),
        "binds": _binds(layout) if slot else [],
        "components": {name: {"argv": commands[name], "env": env} for name in names},
    }


def _binds(layout: Layout) -> list[tuple[str, str]]:
    binds = []
    for target in NODE_FOLDERS:
        source = layout.state / "node" / target.strip("/").replace("/", "-")
        source.mkdir(parents=True, exist_ok=True)
        binds.append((str(source), target))
    for tunable, value in KUBELET_TUNABLES.items():
        if Path("/proc/sys", tunable).exists():
            source = layout.state / "node" / tunable.replace("/", "-")
            source.write_text(f"{value}\n")
            binds.append((str(source), f"/proc/sys/{tunable}"))
    return binds
