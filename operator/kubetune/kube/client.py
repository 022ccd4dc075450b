"""Plain dicts in, plain dicts out, over the official client's connection handling.

The generated model classes are not used: they cost more time than the API server itself and lose fields they do not
know. Authentication, TLS, proxies and kubeconfig handling are the official client's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from kubetune.common.decision import Patch, Ref

from .errors import ApiError, from_response
from .fence import Fence, fenced, tracing
from .kinds import EVENT, LEASE, POD, Resource, resource_of
from .told import Told

FIELD_MANAGER = "kubetune"
STATUS_MANAGER = "kubetune-status"
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
"""A live API server answers in milliseconds; waiting longer would only hold a worker."""
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
"""What we have just written need not be sent back; the metadata tells uid, version and generation."""
PAGE = 250
"""Objects per portion of a long list."""

Object = dict[str, Any]
Objects = list[Object]
Meter = Callable[[str, str, int], None]
"""Called with verb, plural and status code (0: no answer) of every request."""


class Client:
    """One connection pool to one API server. Every method raises ApiError for anything but success.

    ``told`` remembers how new what was read and written is; whoever watches adds what it sees.
    """

    is_live = True
    """Whether what is read is what is true now."""

    def __init__(self, api: kubernetes_client.ApiClient, meter: Meter | None = None, told: Told | None = None) -> None:
        self._api = api
        self._meter = meter or (lambda verb, plural, status: None)
        self.told = told or Told()
        self.fence: Fence | None = None
        """Asked before every write but those of a Lease, which guard themselves by their resourceVersion."""

    @classmethod
    async def connect(cls, *, connections: int, meter: Meter | None = None) -> Client:
        """Inside a pod its service account, else KUBECONFIG or ~/.kube/config. Raises ConfigException with neither."""
        configuration = await load_configuration()
        configuration.connection_pool_maxsize = connections
        return cls(kubernetes_client.ApiClient(configuration), meter)

    @property
    def configuration(self) -> kubernetes_client.Configuration:
        configuration: kubernetes_client.Configuration = self._api.configuration
        return configuration

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The live object, None when there is none; ``namespace`` None is for what has none."""
        try:
            return await self._call("get", resource, resource.path(namespace, name))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Objects:
        """Items as the API server lists them: without ``apiVersion`` and ``kind``."""
        answer = await self._call("list", resource, resource.path(namespace), query=selectors(labels, fields))
        items: Objects = answer["items"]
        return items

    async def pages(self, resource: Resource, namespace: str | None = None) -> AsyncIterator[Objects]:
        """All items in portions, so that thousands of objects never are in memory at once."""
        query = {"limit": str(PAGE)}
        while True:
            answer = await self._call("list", resource, resource.path(namespace), query=query)
            yield answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return
            query = {"limit": str(PAGE), "continue": token}

    async def create(self, obj: Object) -> Object:
        """``obj`` with the metadata the server gave it; without its defaults and status, which are not sent back.

        Refused with 409 AlreadyExists when an object of that name exists, whoever owns it.
        """
        resource = resource_of(obj["apiVersion"], obj["kind"])
        path = resource.path(obj["metadata"]["namespace"])
        query = {"fieldManager": FIELD_MANAGER}
        made = await self._call("create", resource, path, query=query, body=obj)
        return {**obj, "metadata": made["metadata"]}

    async def could_create(self, obj: Object) -> bool:
        """Whether ``obj`` would be created: False when one of that name exists. Nothing is stored."""
        resource = resource_of(obj["apiVersion"], obj["kind"])
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All"}
        try:
            await self._call("create", resource, resource.path(obj["metadata"]["namespace"]), query=query, body=obj)
        except ApiError as error:
            if error.is_already_exists:
                return False
            raise
        return True

    async def apply(self, obj: Object) -> Object:
        """Server-side apply of the fields in ``obj``, taking them over from whoever set them; returns as ``create``."""
        resource = resource_of(obj["apiVersion"], obj["kind"])
        path = resource.path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        made = await self._call("apply", resource, path, query=query, body=obj)
        return {**obj, "metadata": made["metadata"]}

    async def apply_status(self, resource: Resource, namespace: str, name: str, uid: str, status: Object) -> Object:
        """Server-side apply of the whole status; a newer object of that name (other uid) is refused with 409.

        Returns the object's metadata only.
        """
        obj = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"namespace": namespace, "name": name, "uid": uid},
            "status": status,
        }
        path = resource.path(namespace, name, "status")
        query = {"fieldManager": STATUS_MANAGER, "force": "true"}
        return await self._call("apply", resource, path, query=query, body=obj)

    async def patch(self, patch: Patch) -> Object:
        resource = resource_of(patch.ref.api_version, patch.ref.kind)
        path = resource.path(patch.ref.namespace, patch.ref.name)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("patch", resource, path, query=query, body=patch.body)

    async def delete(self, ref: Ref, uid: str | None = None, *, foreground: bool = False) -> None:
        """Deletes the object and what it owns: afterwards, or with ``foreground`` before. Gone already is fine."""
        resource = resource_of(ref.api_version, ref.kind)
        options: Object = {"propagationPolicy": "Foreground" if foreground else "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("delete", resource, resource.path(ref.namespace, ref.name), body=options)
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def evict(self, ref: Ref, grace_seconds: int) -> None:
        """Ends a pod by eviction, which a Job's failure policy can tell from a failure. Gone already is fine, and so is
        a budget for disruptions that forbids it (429): whatever ends the pod next does so with its own grace."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": ref.namespace, "name": ref.name},
            "deleteOptions": {"gracePeriodSeconds": grace_seconds},
        }
        try:
            await self._call("create", POD, POD.path(ref.namespace, ref.name, "eviction"), body=eviction)
        except ApiError as error:
            if not error.is_not_found and error.status != 429:
                raise

    async def post_event(self, obj: Object) -> None:
        await self._call("create", EVENT, EVENT.path(obj["metadata"]["namespace"]), body=obj)

    async def is_served(self, resource: Resource) -> bool:
        """Whether the API server knows the resource, that is whether its CRD is installed."""
        try:
            answer = await self._call("get", resource, resource.base)
        except ApiError as error:
            if error.is_not_found:
                return False
            raise
        return any(item["name"] == resource.plural for item in answer["resources"])

    async def _call(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        method, content_type, accept = _METHODS[verb]
        sent: Object | bytes | None = _utf8(body) if verb == "apply" and body is not None else body
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "kubetune"}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, verb, body)
        fence = None if method == "GET" or resource == LEASE else self.fence
        timeout = TIMEOUT if fence is None else _within(fence.seconds_left)
        status = 0
        try:
            with fenced(fence):
                response = await self._api.call_api(method, url, headers, sent, _request_timeout=timeout)
            status = response.status
            data = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status = 0
            raise ApiError(0, "NoAnswer", f"{type(error).__name__}: {error}", verb, path) from error
        finally:
            self._meter(verb, resource.plural, status)
        if not 200 <= status <= 299:
            raise from_response(status, data, verb, path, response.headers.get("Retry-After"))
        answer: Object = json.loads(data)
        self.told.read(resource, answer)
        return answer


def selectors(labels: Mapping[str, str] | None, fields: Mapping[str, str] | None) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {
        name: ",".join(f"{key}={value}" for key, value in wanted.items()) for name, wanted in chosen.items() if wanted
    }


def _utf8(body: Object) -> bytes:
    """The body of a server-side apply, which is YAML to the API server.

    YAML refuses the pair of escapes by which JSON writes a character above U+FFFF (an emoji in a URI, in a pod's last
    words), so nothing is escaped. Half a pair, which is no character, becomes a question mark.
    """
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _within(seconds: float) -> aiohttp.ClientTimeout:
    """Never 0, which would be no limit at all."""
    return aiohttp.ClientTimeout(total=min(30.0, max(0.001, seconds)), sock_connect=10)


_JSON = "application/json"
_METHODS = {
    "get": ("GET", _JSON, _JSON),
    "list": ("GET", _JSON, _JSON),
    "create": ("POST", _JSON, METADATA_ONLY),
    "apply": ("PATCH", "application/apply-patch+yaml; charset=utf-8", METADATA_ONLY),
    "patch": ("PATCH", "application/merge-patch+json", _JSON),
    "delete": ("DELETE", _JSON, _JSON),
}
"""Method, content type of the body, wanted content type of the answer."""


async def load_configuration() -> kubernetes_client.Configuration:
    """Inside a pod its service account, else KUBECONFIG or ~/.kube/config."""
    configuration = kubernetes_client.Configuration()
    # Otherwise the environment is searched for a proxy, in a thread, before every request. One named in the kubeconfig
    # is used all the same.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.trace_configs = [tracing()]
    try:
        kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kubernetes_config.ConfigException:
        await kubernetes_config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration
