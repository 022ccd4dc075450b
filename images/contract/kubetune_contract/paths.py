"""Paths, ports and environment of every workload pod; the operator mounts them, the images read them."""

from __future__ import annotations

SCHEMA = 1
"""Major version of the contract. Additions keep it; anything else raises it."""

CONFIG_PATH = "/etc/kubetune/config.json"
WORK_DIR = "/work"
"""Writable scratch space; everything else in the container is read-only except TMP_DIR."""
TMP_DIR = "/tmp"
CACHE_DIR = "/cache"
"""Models fetched by the server's fetch step, named by their manifest's digest."""
PVC_ROOT = "/mnt/pvc"
"""``pvc://claim/path`` is mounted read-only at ``/mnt/pvc/claim``."""
CONFIGMAP_ROOT = "/mnt/configmap"
"""``configmap://name/key`` is mounted at ``/mnt/configmap/name/key``."""
TERMINATION_PATH = "/dev/termination-log"
TERMINATION_LIMIT = 4096
"""Bytes the kubelet keeps of a termination message."""
PROGRESS_PORT = 9400
SERVE_PORT = 8000
