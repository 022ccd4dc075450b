"""What the machine has that decides which builds are made: a GPU, an index with torch's CPU build."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INDEX_SECONDS = 3.0
_CLUSTER_SECONDS = 10
# What the NVIDIA driver makes on Linux, and what stands for it under WSL.
_DRIVER_FILES = ("dev/nvidiactl", "proc/driver/nvidia/version", "usr/lib/wsl/lib/libnvidia-ml.so.1")
_GPU_RESOURCES = ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-")


def gpu_here(root: Path = Path("/")) -> bool:
    """Whether this machine runs NVIDIA's driver; `root` is where its files are looked for."""
    return any((root / name).exists() for name in _DRIVER_FILES)


def has_gpu(nodes: Mapping[str, Any]) -> bool:
    """Whether a node of a NodeList offers a GPU, or says by GPU feature discovery's label that it has one."""
    for node in nodes.get("items", ()):
        capacity = node.get("status", {}).get("capacity", {})
        if any(name.startswith(_GPU_RESOURCES) and amount != "0" for name, amount in capacity.items()):
            return True
        if node.get("metadata", {}).get("labels", {}).get("nvidia.com/gpu.present") == "true":
            return True
    return False


def gpu_in_cluster(environment: Mapping[str, str]) -> bool | None:
    """Whether the cluster that KUBECONFIG names has a GPU; None where none is named or it does not answer."""
    if not environment.get("KUBECONFIG"):
        return None
    kubectl = shutil.which("kubectl", path=environment.get("PATH"))
    if kubectl is None:
        return None
    line = [kubectl, "get", "nodes", "--output=json", f"--request-timeout={_CLUSTER_SECONDS}s"]
    try:
        answer = subprocess.run(
            line, env=dict(environment), capture_output=True, text=True, timeout=2 * _CLUSTER_SECONDS, check=False
        )
        return has_gpu(json.loads(answer.stdout)) if answer.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def index_answers(url: str) -> bool:
    """Whether a package index has a page for torch, asked once and for `INDEX_SECONDS` at most."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/torch/", timeout=INDEX_SECONDS) as answer:  # noqa: S310
            return b"torch" in answer.read(1 << 20)
    except (OSError, ValueError):
        return False


def look(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> tuple[bool, str]:
    """Whether a GPU was found, and the words for the line that says why."""
    if gpu_here(root):
        return True, "this machine has an NVIDIA driver"
    found = gpu_in_cluster(environment)
    if found:
        return True, "a node of the cluster that KUBECONFIG names has a GPU"
    if found is None and environment.get("KUBECONFIG"):
        return False, "no GPU here, and the cluster that KUBECONFIG names does not answer; --gpu if it has one"
    return False, "no GPU was found"
