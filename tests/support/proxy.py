"""A plain HTTP proxy in front of the API server that counts requests and, on demand, misbehaves."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

Matcher = Callable[[web.Request], bool]


@dataclass
class Fault:
    """Answers the next ``times`` requests that match in the API server's place."""

    matches: Matcher
    status: int
    reason: str
    message: str
    times: int
    headers: dict[str, str] = field(default_factory=dict)
    served: int = 0

    def answer(self) -> web.Response:
        self.served += 1
        body = {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "reason": self.reason,
            "message": self.message,
            "code": self.status,
        }
        return web.json_response(body, status=self.status, headers=self.headers)


class Proxy:
    """Runs in a thread of its own; use as a context manager."""

    def __init__(self, upstream: str, pki: Path, user: str = "") -> None:
        """``user`` is whom the API server takes its clients for; empty: the administrator."""
        self.upstream = upstream
        self._identity = {"Impersonate-User": user} if user else {}
        self.asked: set[tuple[str, str, str]] = set()
        """Verb, group and resource of what was asked, as a Role names them."""
        self._ssl = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._ssl.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._watches: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._live: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.port = 0
        self.expired = 0
        self._expiring = 0
        self._held: Matcher | None = None
        self._go = asyncio.Event()
        self.holding = 0
        """Requests that wait here for ``let_go``."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fault(self, matches: Matcher, status: int, *, times: int, reason: str = "", message: str = "") -> Fault:
        """Plans a fault; 429 asks to come back after a second."""
        headers = {"Retry-After": "1"} if status == 429 else {}
        fault = Fault(matches, status, reason or f"Injected{status}", message or "injected by the test", times, headers)
        self.faults.append(fault)
        return fault

    def expire_watches(self, times: int) -> None:
        """The next ``times`` watches start with 410 Expired in their stream, which is how the API server says it."""
        self._expiring = times

    def hold(self, matches: Matcher) -> None:
        """Requests that match are passed on only after ``let_go``: a slow answer, to which time is given."""
        self._held = matches

    def let_go(self) -> None:
        self._held = None
        self._loop.call_soon_threadsafe(self._go.set)

    @property
    def watches(self) -> int:
        """Watches open now."""
        return len(self._watches)

    def drop_watches(self) -> int:
        """Cuts every open watch; returns how many there were."""
        dropped: int = self._call(self._drop())
        return dropped

    def writes(self, namespace: str) -> Counter[tuple[str, str]]:
        """(method, resource) -> requests so far that change something there."""
        return Counter({key: count for key, count in self._in(namespace).items() if key[0] != "GET"})

    def passes(self, namespace: str, plural: str = "finetunejobs") -> int:
        """Reconciles of that kind there so far: each but the first of a new object begins with one live read."""
        return self._in(namespace)["GET", plural]

    def live_reads(self, namespace: str) -> int:
        """Reads there so far that the API server has to ask etcd for."""
        with self._lock:
            return self._live[namespace]

    def requests(self, namespace: str) -> Counter[tuple[str, str]]:
        """(method, resource) -> requests so far there, watches aside."""
        return self._in(namespace)

    def _in(self, namespace: str) -> Counter[tuple[str, str]]:
        with self._lock:
            counts = dict(self._counts)
        return Counter({(method, what): n for (method, what, where), n in counts.items() if where == namespace})

    def _call(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl)
        # Nothing compressed: what is passed on here keeps neither that header nor its reason.
        plain = {"Accept-Encoding": "identity", **self._identity}
        self._session = aiohttp.ClientSession(connector=connector, headers=plain)
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        await self._drop()
        await self._runner.cleanup()
        await self._session.close()
        # aiohttp closes TLS connections in the background; a loop that ends before they are leaves sockets open.
        await asyncio.sleep(0.25)

    async def _drop(self) -> int:
        dropped = list(self._watches)
        for task in dropped:
            task.cancel()
        return len(dropped)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        is_watch = "watch" in request.query
        self.asked.add(right(request))
        if not is_watch:
            with self._lock:
                # A dry run changes nothing: it asks.
                method = "GET" if "dryRun" in request.query else request.method
                what, where = place(request.path)
                self._counts[method, what, where] += 1
                self._live[where] += method == "GET" and "resourceVersion" not in request.query
        for fault in self.faults:
            if fault.served < fault.times and fault.matches(request):
                return fault.answer()
        if is_watch and self.expired < self._expiring:
            return await self._expire(request)
        if is_watch:
            return await self._stream(request)
        if self._held and self._held(request):
            self.holding += 1
            await self._go.wait()
        return await self._forward(request)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() in {"accept", "content-type"}}
        # The API server compresses long lists, and the answer's Content-Encoding is not passed on.
        headers["Accept-Encoding"] = "identity"
        try:
            async with self._session.request(
                request.method, self.upstream + request.path_qs, data=await request.read() or None, headers=headers
            ) as answer:
                body = await answer.read()
                kept = {k: v for k, v in answer.headers.items() if k.lower() in {"content-type", "retry-after"}}
                return web.Response(status=answer.status, body=body, headers=kept)
        except aiohttp.ClientError as error:
            return web.json_response({"message": str(error)}, status=502)

    async def _expire(self, request: web.Request) -> web.StreamResponse:
        self.expired += 1
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
        status["message"] = "too old resource version"
        return web.json_response({"type": "ERROR", "object": status})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        timeout = aiohttp.ClientTimeout(total=None)
        try:
            plain = {"Accept-Encoding": "identity"}
            async with self._session.get(self.upstream + request.path_qs, timeout=timeout, headers=plain) as answer:
                response.set_status(answer.status)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except (aiohttp.ClientError, asyncio.CancelledError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(task)
        return response


def right(request: web.Request) -> tuple[str, str, str]:
    """Verb, group and resource, as the API server authorizes it."""
    parts = request.path.strip("/").split("/")
    group, rest = (parts[1] if len(parts) > 1 else "", parts[3:]) if parts[0] == "apis" else ("", parts[2:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    resource, name, subresource = [*rest, "", "", ""][:3]
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(request.method) or ("watch" if "watch" in request.query else "get" if name else "list")
    return verb, group, f"{resource}/{subresource}" if subresource else resource


def place(path: str) -> tuple[str, str]:
    """``/apis/batch/v1/namespaces/a/jobs/b/status`` -> ``("jobs/status", "a")``; lists and objects look the same."""
    parts = path.strip("/").split("/")
    if "namespaces" not in parts:
        return parts[-1], ""
    index = parts.index("namespaces")
    namespace, resource, *rest = [*parts[index + 1 :], "", ""][: len(parts) - index + 1]
    tail = [part for part in rest[1:] if part]
    return "/".join([resource, *tail]), namespace


def write_kubeconfig(target: Path, url: str) -> Path:
    """A kubeconfig for a server that wants no credentials."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    }
    target.write_text(json.dumps(config))
    return target
