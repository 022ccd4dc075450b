"""Disk that a pod may fill: what it asks of its node, and where the kubelet ends it.

Without a limit one large download fills the node's disk, and the kubelet then evicts others, the object store among
them. Without a request the scheduler knows nothing of it, and the kubelet takes first whoever uses more than it asked
for. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kubetune.common.pod_options import Resources
from kubetune.common.quantity import parse_quantity

MEBIBYTE = 2**20
UNKNOWN_REQUEST = "1Gi"
"""Of a pod of which nobody has estimated it."""
UNKNOWN_LIMIT, UNKNOWN_PER_MEMORY = 64 * 1024 * MEBIBYTE, 8
"""The limit of such a pod: what a model takes on disk follows from what it takes in memory, up to the factor of a model
that is quantized while it is loaded."""
FACTOR, MORE = 2, 1024 * MEBIBYTE
"""The limit of a pod whose need was estimated: an estimate that is wrong must not end a run of many hours."""


@dataclass(frozen=True)
class Scratch:
    """Kubernetes' quantities."""

    request: str
    """Empty: nothing is asked of the node."""
    limit: str

    @property
    def requests(self) -> dict[str, str]:
        return {"ephemeral-storage": self.request} if self.request else {}

    @property
    def limits(self) -> dict[str, str]:
        """A container's limit would be its request where that is unset, so there is none without the other."""
        return {"ephemeral-storage": self.limit} if self.request else {}

    def volume(self) -> dict[str, object]:
        """Source of a volume that may hold all of it."""
        return {"emptyDir": {"sizeLimit": self.limit}}


def scratch_of(resources: Resources, estimated: int | None = None, *, is_counted: bool = False) -> Scratch:
    """What the spec says, else what follows from the preflight's estimate in bytes, else what suffices for most.

    ``is_counted``: somebody counts the pod's requests (Kueue, which admits nothing that asks for a resource its queue
    does not name). Such a pod asks only for what its spec says; its volumes have the limit all the same.
    """
    if resources.scratch:
        return Scratch(resources.scratch, resources.scratch)
    if estimated:
        request, limit = _mebibytes(estimated), _mebibytes(estimated * FACTOR + MORE)
    else:
        request = UNKNOWN_REQUEST
        limit = _mebibytes(UNKNOWN_LIMIT + UNKNOWN_PER_MEMORY * int(parse_quantity(resources.memory)))
    return Scratch("" if is_counted else request, limit)


def _mebibytes(count: int) -> str:
    """Rounded up."""
    return f"{math.ceil(count / MEBIBYTE)}Mi"
