"""The Debian packages that tests, demo and cluster need: which are missing, and their installation.

The one place that installs any; whatever else finds something missing only says so.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable

from .namespaces import ClusterError

# By the program that shows that they are there.
PACKAGES = {
    "unshare": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
    "ip": "iproute2",
    "sysctl": "procps",
    "hostname": "hostname",
}
NODE_PACKAGES = {
    "unshare": "util-linux",
    "mount": "mount",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "busybox": "busybox-static",
}
# What images are built with where neither Docker nor podman answers.
IMAGE_PACKAGES = {"buildah": "buildah", "skopeo": "skopeo", "mmdebstrap": "mmdebstrap"}
_ENGINES = ("docker", "podman")


def absent(node: bool) -> list[str]:
    """Packages this machine lacks for a cluster; one with a node runs images, which are built here."""
    wanted = {**PACKAGES, **(NODE_PACKAGES if node else {})}
    return sorted({*_lacking(wanted), *absent_for_venv(), *(absent_for_images() if node else ())})


def absent_for_images() -> list[str]:
    """Packages without which no image can be built here; none where Docker or podman answers."""
    found = _lacking(IMAGE_PACKAGES)
    return [] if found and any(map(_answers, _ENGINES)) else found


def absent_for_venv() -> list[str]:
    """Debian's Python comes without what ``python3 -m venv`` needs; other builds have it."""
    return [] if importlib.util.find_spec("ensurepip") else ["python3-venv"]


def _lacking(packages: dict[str, str]) -> list[str]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted({package for probe, package in packages.items() if not shutil.which(probe, path=path)})


def _answers(engine: str) -> bool:
    if not shutil.which(engine):
        return False
    return subprocess.run([engine, "info"], check=False, capture_output=True).returncode == 0


def install(wanted: list[str], say: Callable[[str], None]) -> None:
    """Install the packages; raise ClusterError, which says what to do, on failure."""
    if not wanted:
        return
    names = " ".join(wanted)
    if os.geteuid() or not shutil.which("apt-get"):
        raise ClusterError(f"missing: {names}; install them (apt-get install {names}, as root) and run again")
    say(f"installing Debian packages: {names} ...")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *wanted]
    for line in (command, ["apt-get", "update", "--quiet"], command):
        # The first try needs no lists that are fresh; the update is for machines without any.
        done = subprocess.run(line, env=env, check=False, capture_output=True, text=True)
        if line is command and done.returncode == 0:
            return
    raise ClusterError(
        f"apt-get could not install {names}: {done.stderr.strip()[-500:]}; "
        "install them by hand and run the command again"
    )
