"""A cluster's namespaces seen from the machine: create, connect, enter, end, clean up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from subprocess import PIPE
from typing import IO

from .layout import MAX_CLUSTERS, REPOSITORY, Addresses

NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts")
CGROUPS = Path("/sys/fs/cgroup")
END_TIMEOUT_SECONDS = 20.0


class ClusterError(RuntimeError):
    """Something the user can act on; the message says what."""


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks after boot, None if there is none; tells reused pids."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name may hold spaces and brackets; state is the first field after it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Supervisor:
    """A started supervisor: its pid on this machine, and the pipes to and from it."""

    pid: int
    to: IO[bytes]
    back: IO[bytes]

    def go(self) -> bool:
        """Tell it that its plan and its network are there; False if it could not set up."""
        try:
            self.to.write(b"go\n")
            self.to.flush()
            return self.back.readline() == b"ready\n"
        except BrokenPipeError:
            return False

    def let_go(self) -> None:
        """Close the pipes; a supervisor that waits for ``go``, or is tied, ends."""
        self.back.close()
        with contextlib.suppress(BrokenPipeError):
            self.to.close()


def spawn(plan: Path, log: IO[bytes], locks: Sequence[int]) -> Supervisor:
    """Start the supervisor in new namespaces; raise ClusterError if they cannot be had.

    The lock descriptors stay open in the supervisor, so the locks last exactly as long as it does.
    """
    # setsid leaves at once, so nobody here has to wait for the supervisor's end.
    # --kill-child: should only unshare be killed, the supervisor follows.
    detached = ["setsid", "--fork", "unshare", *NAMESPACES, "--fork", "--kill-child"]
    command = [sys.executable, "-m", "tests.cluster.supervisor", str(plan)]
    with subprocess.Popen(
        [*detached, *command], stdin=PIPE, stdout=PIPE, stderr=log, cwd=REPOSITORY, pass_fds=locks
    ) as starter:
        assert starter.stdin
        assert starter.stdout
        to, back = os.fdopen(os.dup(starter.stdin.fileno()), "wb"), os.fdopen(os.dup(starter.stdout.fileno()), "rb")
    line = back.readline()
    supervisor = Supervisor(int(line or 0), to, back)
    if not line:
        supervisor.let_go()
        raise ClusterError("this machine gave no namespaces: it must let root use unshare(1); see supervisor.log")
    return supervisor


def routed_networks() -> list[IPv4Network]:
    """Networks that the machine already routes somewhere, the default route aside."""
    routes = json.loads(subprocess.check_output(["ip", "-j", "-4", "route", "show"]))
    return [IPv4Network(r["dst"], strict=False) for r in routes if r["dst"] != "default"]


def free_indexes(taken: Iterable[IPv4Network]) -> list[int]:
    """Cluster numbers whose addresses overlap none of the given networks."""
    networks = list(taken)
    return [
        index
        for index in range(MAX_CLUSTERS)
        if not any(Addresses(index).block.overlaps(network) for network in networks)
    ]


def connect(pid: int) -> Addresses:
    """Give the namespace of pid a node address and a veth pair to the machine; raise if none left.

    Creating the interface is the one step that only one of several callers can do, so its name
    decides who has the number.
    """
    for index in free_indexes(routed_networks()):
        addresses = Addresses(index)
        veth = ["ip", "link", "add", addresses.interface, "type", "veth"]
        peer = ["peer", "name", "eth0", "netns", str(pid)]
        done = subprocess.run(veth + peer, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            _configure(addresses, pid)
            return addresses
        if "File exists" not in done.stderr:
            raise ClusterError(f"could not create a network interface: {done.stderr.strip()}")
    raise ClusterError(
        f"no cluster number is free: {MAX_CLUSTERS} clusters run or 198.18.0.0/15 is routed "
        "elsewhere; stop one with 'python3 -m tests.cluster down --name NAME'"
    )


def _configure(addresses: Addresses, pid: int) -> None:
    prefix = addresses.link.prefixlen
    host = (
        f"address add {addresses.host}/{prefix} dev {addresses.interface}\n"
        f"link set {addresses.interface} up\n"
        f"route add {addresses.block} via {addresses.node}\n"
    )
    node = (
        "link set lo up\n"
        f"address add {addresses.node}/{prefix} dev eth0\n"
        "link set eth0 up\n"
        f"route add default via {addresses.host}\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=host, text=True, check=True)
    enter = ["nsenter", "--target", str(pid), "--net"]
    subprocess.run([*enter, "ip", "-batch", "-"], input=node, text=True, check=True)
    subprocess.run([*enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)


def enter_command(pid: int, command: Sequence[str]) -> list[str]:
    """Command line that runs the command in the cluster's namespaces, and ends with the cluster."""
    return ["nsenter", "--target", str(pid), *NAMESPACES, "--wdns=/", "--", *command]


def outer_pid(supervisor: int, inner: int) -> int | None:
    """Pid on the machine of the process with the given pid in the supervisor's pid namespace."""
    namespace = os.readlink(f"/proc/{supervisor}/ns/pid_for_children")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "ns/pid") != namespace:
                continue
            status = (entry / "status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("NSpid:") and int(line.split()[-1]) == inner:
                return int(entry.name)
    return None


def end(pid: int, started: int) -> bool:
    """Kill the supervisor, and with it the namespaces; False if it had ended before."""
    if start_time(pid) != started:
        return False
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    while start_time(pid) == started:
        if time.monotonic() > deadline:
            raise ClusterError(f"process {pid} does not end; see 'cat /proc/{pid}/stack'")
        time.sleep(0.02)
    return True


def wait_for_interface_end(addresses: Addresses) -> None:
    """Wait until the kernel has removed the interface of ended namespaces."""
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    while Path("/sys/class/net", addresses.interface).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def cgroup_folders(cgroup: str) -> list[Path]:
    """The cluster's folder in every cgroup hierarchy: one for cgroup v2, several for v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / cgroup]
    return [h / cgroup for h in sorted(CGROUPS.iterdir()) if (h / "cgroup.procs").exists()]


def create_cgroups(cgroup: str) -> None:
    """Create the cgroup that the kubelet expects to find."""
    for folder in cgroup_folders(cgroup):
        folder.mkdir(exist_ok=True)


def remove_cgroups(cgroup: str) -> None:
    """Remove the cgroup and all below it; the kernel lets go of ended members after a moment."""
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    while True:
        left = [f for f in cgroup_folders(cgroup) if f.exists() and not _removed(f)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"cgroup {left[0]} is still in use; stop what runs in it")
        time.sleep(0.05)


def _removed(folder: Path) -> bool:
    """Remove a cgroup from the leaves up; False while something in it is still in use."""
    for current, children, _ in os.walk(folder, topdown=False):
        for child in [Path(current, c) for c in children]:
            try:
                child.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
