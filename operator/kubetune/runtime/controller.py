"""What a kind brings to the operator; the reconciler does everything else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from kubetune.common.decision import Decision
from kubetune.kube.client import Client, Object
from kubetune.kube.kinds import Resource

ANY = ""
"""As the name in a reference: every custom resource of that kind and namespace."""


class Key(NamedTuple):
    """One custom resource; the unit of work of the queue."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Custom = TypeVar("Custom")
Observed = TypeVar("Observed")


class Controller(Protocol[Custom, Observed]):
    """gather (reads only) -> decide (pure); ``runtime.reconciler`` carries the decision out.

    A pass of the reconciler: GET of the custom resource, unless a watch or listing has just brought it as new (gone or
    being deleted: nothing to do) -> parse -> gather -> decide -> create, apply, patch, delete -> one status write if
    the status differs -> Events -> requeue.

    It begins with a glance (``kube.glance``). Where the decision is more than a status that is not the last, the whole
    pass is made again with live reads.
    """

    @property
    def resource(self) -> Resource:
        """The kind of custom resource this controller is for."""

    def parse(self, raw: Object) -> Custom:
        """Raises pydantic.ValidationError, which becomes the condition Accepted=False, reason InvalidSpec."""

    async def gather(self, client: Client, obj: Custom, *, fresh: bool) -> Observed:
        """Reads the children by name and everything else ``decide`` needs; writes nothing.

        ``fresh`` is True when the object has no status yet, so that children cannot exist unless somebody else made
        them; reading them may be left out, because ``Decision.create`` refuses to overwrite. The reconciler calls again
        with False when a create met an existing object.

        Raises NotLive when ``client`` is a glance and something is given away by what it reads (a place in line).
        """

    def decide(self, obj: Custom, observed: Observed, now: datetime) -> Decision:
        """Pure."""

    def children(self, observed: Observed) -> Iterable[Object]:
        """The gathered objects we own, so that events about states already seen are not looked at again."""

    def references(self, obj: Custom) -> Iterable[Key]:
        """Custom resources whose changes concern this one, in its own namespace or another."""

    def recorded(self, key: Key, status: Object) -> None:
        """This status, as ``decide`` has made it, is on record."""

    def refused(self, obj: Custom) -> None:
        """The API server has refused what ``decide`` was to create: nothing of it exists."""

    def forget(self, key: Key) -> None:
        """The custom resource is gone or being deleted: drop what is kept in memory about it (metrics series)."""


AnyController = Controller[Any, Any]
