"""What the operator asks of the API server, kind by kind: the rights that the chart gives it, no fewer and no more.

The chart's templates/rbac.yaml says the same; tests/chart/test_security.py compares the two, and the integration tests
run with these rights alone and show that each is used. A call that is new here needs its line.
"""

from __future__ import annotations

from typing import NamedTuple

from .kinds import (
    CLAIM,
    CONFIGMAP,
    DEPLOYMENT,
    EVALUATION,
    EVENT,
    FINETUNEJOB,
    JOB,
    LEASE,
    MODELDEPLOYMENT,
    NODE,
    POD,
    RUNTIMECLASS,
    SECRET,
    SERVICE,
    Resource,
)


class Right(NamedTuple):
    """Verbs on one resource or subresource."""

    resource: Resource
    verbs: tuple[str, ...]
    subresource: str = ""
    names: tuple[str, ...] = ()
    """The only objects it holds for; empty: all."""

    @property
    def what(self) -> str:
        """As a Role names it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural


_SEEN = ("list", "watch")
_CUSTOM = (FINETUNEJOB, EVALUATION, MODELDEPLOYMENT)

IN_NAMESPACES = (
    *(Right(kind, ("get", *_SEEN)) for kind in _CUSTOM),
    *(Right(kind, ("patch",), "status") for kind in _CUSTOM),
    Right(EVALUATION, ("create",)),
    Right(JOB, ("get", *_SEEN, "create", "patch", "delete")),
    # Server-side apply asks for both where the object does not exist yet.
    *(Right(kind, ("get", *_SEEN, "create", "patch")) for kind in (DEPLOYMENT, SERVICE)),
    Right(POD, _SEEN),
    Right(POD, ("create",), "eviction"),
    Right(EVENT, (*_SEEN, "create")),
    *(Right(kind, ("get",)) for kind in (CONFIGMAP, CLAIM)),
    Right(SECRET, ("create",)),
)
"""In every namespace served. The right on Secrets is for dry runs, and the chart's rbac.checkSecrets takes it away."""

OWNERSHIP = tuple(Right(kind, ("update",), "finalizers") for kind in _CUSTOM)
"""Never called: where OwnerReferencesPermissionEnforcement is on (OpenShift), admission asks for it of whoever makes
children that hold up their owner's deletion."""

IN_THE_CLUSTER = (
    Right(NODE, ("list",)),
    Right(RUNTIMECLASS, ("get",), names=("nvidia",)),
)
"""With all namespaces served, or rbac.readNodes."""

AT_HOME = (Right(LEASE, ("create",)), Right(LEASE, ("get", "patch"), names=("<lease>",)))
"""In the operator's own namespace; ``<lease>`` stands for the setting's name."""
