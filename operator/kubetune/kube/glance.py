"""Reads that cost the API server hardly anything: from its watch cache, yet never older than what we were told.

A live read goes to etcd, and a live list by label goes through all objects of the namespace there. A glance is answered
from memory. It may be behind what is true by what no watch has told us yet. Whatever it missed is therefore still to
come as an event, and brings another look. So a glance suffices to say how things are, and not to change anything:
whoever would, raises NotLive and looks again.
"""

from __future__ import annotations

from collections.abc import Mapping

from .client import Client, Object, Objects, selectors
from .errors import ApiError
from .kinds import DEPLOYMENT, EVALUATION, FINETUNEJOB, JOB, MODELDEPLOYMENT, POD, SERVICE, Resource

WATCHED = frozenset({FINETUNEJOB, EVALUATION, MODELDEPLOYMENT, JOB, POD, DEPLOYMENT, SERVICE})
"""Kinds whose changes are told. Others are read live."""
_BEHIND = frozenset({410, 500, 504})
"""The watch cache is not that far, and does not get there in the time that the API server gives it."""


class Glance(Client):
    """Over the connection of a Client, whose writes it shares."""

    is_live = False

    def __init__(self, client: Client) -> None:
        super().__init__(client._api, client._meter, client.told)
        self.fence = client.fence

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        version = self._version(resource)
        if version is None:
            return await super().get(resource, namespace, name)
        try:
            return await self._call("get", resource, resource.path(namespace, name), query={"resourceVersion": version})
        except ApiError as error:
            if error.is_not_found:
                return None
            self._doubt(resource, error)
        return await super().get(resource, namespace, name)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Objects:
        version = self._version(resource)
        if version is None:
            return await super().list(resource, namespace, labels=labels, fields=fields)
        query = {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"}
        query |= selectors(labels, fields)
        try:
            answer = await self._call("list", resource, resource.path(namespace), query=query)
        except ApiError as error:
            self._doubt(resource, error)
            return await super().list(resource, namespace, labels=labels, fields=fields)
        items: Objects = answer["items"]
        return items

    def _version(self, resource: Resource) -> str | None:
        return self.told.newest(resource) if resource in WATCHED else None

    def _doubt(self, resource: Resource, error: ApiError) -> None:
        """Raises what is no complaint about the version."""
        if error.status not in _BEHIND:
            raise error
        self.told.forget(resource)
