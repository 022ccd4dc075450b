"""Middleware of the engine's HTTP server: who names no model gets the tuned one.

vLLM counts an adapter as an extra of its base: it answers with the base when a request names no model, lists the base
first, and names the base alone when a name is wrong. Here the adapter is what the deployment is about.

Pure ASGI. Requests with a JSON body are read whole before the engine sees them, which the engine does anyway; answers
pass untouched as they come, but for the list of models and for refusals of a name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

TUNED, BASE = "KUBETUNE_TUNED_MODEL", "KUBETUNE_BASE_MODEL"
"""Variables that name the two models: the engine makes the middleware without arguments."""
MIDDLEWARE = f"{__name__}.DefaultModel"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_LIST = "/v1/models"
_UNKNOWN = re.compile(r"The model `(?P<name>.*)` does not exist\.", re.DOTALL)


class DefaultModel:
    """Around the engine's application."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._tuned, self._base = os.environ[TUNED], os.environ[BASE]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"].rstrip("/") == _LIST:
            await self._app(scope, receive, _Rewritten(send, 200, self._ordered))
        elif scope["method"] == "POST":
            scope, receive = await self._named(scope, receive)
            await self._app(scope, receive, _Rewritten(send, 404, self._corrected))
        else:
            await self._app(scope, receive, send)

    async def _named(self, scope: Message, receive: Receive) -> tuple[Message, Receive]:
        """The request with the tuned model's name where it has none."""
        if not _header(scope["headers"], b"content-type").startswith(b"application/json"):
            return scope, receive
        body, last = await _read(receive)
        named = with_model(body, self._tuned)
        if named != body:
            scope = {**scope, "headers": _with_length(scope["headers"], len(named))}
        return scope, _replay(named, last, receive)

    def _ordered(self, body: bytes) -> bytes:
        return tuned_first(body, self._tuned)

    def _corrected(self, body: bytes) -> bytes:
        return naming(body, self._tuned, self._base)


def with_model(body: bytes, name: str) -> bytes:
    """``body`` asking for ``name`` if it is a JSON object that asks for nothing; else as it is."""
    data = _parsed(body)
    if not isinstance(data, dict) or data.get("model") not in (None, ""):
        return body
    return json.dumps(data | {"model": name}).encode()


def tuned_first(body: bytes, name: str) -> bytes:
    """The list of models with ``name`` first and as long a context as the model it stands on."""
    data = _object(body)
    models = data.get("data")
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        return body
    longest = next((model["max_model_len"] for model in models if model.get("max_model_len")), None)
    for model in models:
        if model.get("id") == name and model.get("max_model_len") is None:
            model["max_model_len"] = longest
    data["data"] = sorted(models, key=lambda model: model.get("id") != name)
    return json.dumps(data).encode()


def naming(body: bytes, tuned: str, base: str) -> bytes:
    """A refusal of a model's name with the names there are, the tuned one first."""
    data = _object(body)
    error = data.get("error")
    if not isinstance(error, dict) or not (found := _UNKNOWN.match(str(error.get("message", "")))):
        return body
    error["message"] = f"{found[0]} Ask for {tuned} (the tuned model) or {base} (its base)."
    return json.dumps(data).encode()


def _object(body: bytes) -> dict[str, Any]:
    data = _parsed(body)
    return data if isinstance(data, dict) else {}


def _parsed(body: bytes) -> Any:
    """None for what is no JSON, or nested deeper than Python reads: the engine itself refuses that."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


class _Rewritten:
    """Passes an answer on; one of ``status`` in JSON is kept back until it is whole, and changed."""

    def __init__(self, send: Send, status: int, change: Callable[[bytes], bytes]) -> None:
        self._send, self._status, self._change = send, status, change
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._concerns(message):
            self._start = message
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
        else:
            await self._send(message)

    def _concerns(self, start: Message) -> bool:
        kind = _header(start.get("headers", ()), b"content-type")
        return start["status"] == self._status and kind.startswith(b"application/json")

    async def _finish(self, start: Message) -> None:
        body = self._change(bytes(self._body))
        self._start = None
        await self._send({**start, "headers": _with_length(start.get("headers", ()), len(body))})
        await self._send({"type": "http.response.body", "body": body})


async def _read(receive: Receive) -> tuple[bytes, Message | None]:
    """The whole body, and the message that ended it early: the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body), message
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body), None


def _replay(body: bytes, last: Message | None, receive: Receive) -> Receive:
    """Gives ``body`` first; whatever comes after it, such as the client's leaving, comes from ``receive``."""
    kept: list[Message] = [{"type": "http.request", "body": body, "more_body": last is not None}]
    if last is not None:
        kept.append(last)

    async def replayed() -> Message:
        return kept.pop(0) if kept else await receive()

    return replayed


def _header(headers: Any, name: bytes) -> bytes:
    return next((value.lower() for key, value in headers if key.lower() == name), b"")


def _with_length(headers: Any, length: int) -> list[tuple[bytes, bytes]]:
    kept = [(key, value) for key, value in headers if key.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]
