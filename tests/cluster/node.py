"""What a cluster with a node needs beyond its control plane, in the order in which it is needed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import config, images, manifests
from .api import Api, wait_for
from .layout import DNS_DOMAIN, NODE_NAME, Addresses
from .namespaces import ClusterError

if TYPE_CHECKING:
    from .cluster import Cluster

# Left in a slot by pods of the last cluster; images and their snapshots are elsewhere.
POD_FOLDERS = ("io.containerd.grpc.v1.cri", "io.containerd.runtime.v2.task")
JANITOR_TIMEOUT_SECONDS = 60.0


def clear_slot(cluster: Cluster, slot: Path) -> None:
    """Remove the containers that an ended cluster left in the slot; its images stay.

    containerd runs without its Kubernetes part meanwhile: that would remember the dead pods.
    """
    for folder in POD_FOLDERS:
        shutil.rmtree(slot / "root" / folder, ignore_errors=True)
    if not (slot / "root").exists():
        return
    log = cluster.layout.logs / "containerd-janitor.log"
    configuration = cluster.layout.config / "containerd-janitor.toml"
    command = [str(cluster.layout.bin / "containerd"), f"--config={configuration}"]
    with open(log, "ab") as output:
        janitor = subprocess.Popen(cluster.enter(command), stdout=output, stderr=output)
    try:
        _wait_for_containerd(cluster, log.name)
        for kind in ("containers", "sandboxes"):
            left = [line.split()[0] for line in images.ctr(cluster, kind, "ls").splitlines()[1:]]
            if left:
                images.ctr(cluster, kind, "rm", *left)
    finally:
        _stop(cluster, janitor)


def _stop(cluster: Cluster, janitor: subprocess.Popen[bytes]) -> None:
    """End nsenter's child, which has the pid namespace of the cluster, and wait for both."""
    children = Path(f"/proc/{janitor.pid}/task/{janitor.pid}/children").read_text().split()
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            subprocess.run(["kill", pid], check=False)
    janitor.wait(timeout=JANITOR_TIMEOUT_SECONDS)


def _wait_for_containerd(cluster: Cluster, log: str) -> None:
    deadline = time.monotonic() + JANITOR_TIMEOUT_SECONDS
    while True:
        try:
            images.ctr(cluster, "version")
            return
        except ClusterError:
            if time.monotonic() > deadline:
                raise ClusterError(f"containerd does not start; see {log}") from None
            time.sleep(0.1)


def ensure_pause_image(cluster: Cluster) -> None:
    """Import the sandbox image unless the slot has it."""
    name = config.PAUSE_IMAGE
    program = (cluster.layout.bin / "pause").read_bytes()
    archive = cluster.layout.state / "pause.tar"
    archive.write_bytes(images.single_program_archive(name, program))
    images.load(cluster, [archive], lambda _: None)


def populate(api: Api, addresses: Addresses) -> None:
    """Create the objects that the node's components and the pods need."""
    for path, manifest in manifests.dns(addresses) + manifests.storage():
        api.apply(path, manifest)


def node_ready(api: Api) -> bool:
    """Whether the node is there and Ready."""
    node = api.request("GET", f"/api/v1/nodes/{NODE_NAME}")
    conditions = node["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def dns_answers(addresses: Addresses) -> bool:
    """Whether the name server answers at its ClusterIP: CoreDNS and kube-proxy both work."""
    labels = f"kubernetes.default.svc.{DNS_DOMAIN}".split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.sendto(query, (str(addresses.dns), 53))
        answer = udp.recv(512)
    return answer.endswith(addresses.services[1].packed)


def start(cluster: Cluster, addresses: Addresses, api: Api) -> None:
    """Start the node beside a running API server; return when pods can be scheduled."""
    _wait_for_containerd(cluster, "containerd.log")
    ensure_pause_image(cluster)
    populate(api, addresses)
    for name in config.NODE:
        cluster.start_component(name)
    wait_for("Ready node", lambda: node_ready(api), 60, "kubelet.log")
    wait_for("cluster DNS", lambda: dns_answers(addresses), 30, "coredns.log")
