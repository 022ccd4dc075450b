"""The engine's middleware: the tuned model is what those get who ask for none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubetune_server.default_model import BASE, TUNED, App, DefaultModel, Message, Receive, Send

JSON = [(b"Content-Type", b"application/json; charset=utf-8")]


class Engine:
    """An application that answers what it is told and keeps what it was asked."""

    def __init__(self, status: int, parts: list[bytes], kind: bytes = b"application/json") -> None:
        self.status, self.parts, self.kind = status, parts, kind
        self.asked: bytes = b""
        self.length: bytes | None = None
        self.after: Message = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            self.asked += message["body"]
            if not message["more_body"]:
                break
        self.length = dict(scope["headers"]).get(b"content-length")
        total = str(sum(map(len, self.parts))).encode()
        headers = [(b"content-type", self.kind), (b"content-length", total)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, part in enumerate(self.parts, 1):
            more = number < len(self.parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
        self.after = await receive()


async def exchange(
    app: App,
    body: list[bytes],
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: list[tuple[bytes, bytes]] = JSON,
) -> list[Message]:
    """What the client gets."""
    asked: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(body)} for number, part in enumerate(body, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return asked.pop(0) if asked else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await app(scope, receive, send)
    return sent


def around(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> DefaultModel:
    monkeypatch.setenv(TUNED, "support")
    monkeypatch.setenv(BASE, "support-base")
    return DefaultModel(engine)


def whole(sent: list[Message]) -> Any:
    body = b"".join(message["body"] for message in sent[1:])
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(body)).encode()
    return json.loads(body)


@pytest.mark.walk("W5")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"messages": []}', "support"),
        (b'{"messages": [], "model": ""}', "support"),
        (b'{"messages": [], "model": null}', "support"),
        (b'{"model": "support-base"}', "support-base"),
        (b'{"model": "gpt-4o"}', "gpt-4o"),
        (b'{"model": 5}', 5),
    ],
)
async def test_who_names_no_model_gets_the_tuned_one(
    body: bytes, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(200, [b"{}"])
    await exchange(around(engine, monkeypatch), [body[:5], body[5:]])
    assert json.loads(engine.asked) == json.loads(body) | {"model": expected}
    assert engine.length in {None, str(len(engine.asked)).encode()}
    # The engine stops generating when its client has gone, so it must go on hearing of it.
    assert engine.after["type"] == "http.disconnect"


@pytest.mark.parametrize("body", [b"", b"[1]", b"{broken", b"\xff\xfe", b"[" * 100_000, b'"text"'])
async def test_what_is_no_object_is_the_engines_to_refuse(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(400, [b"{}"])
    await exchange(around(engine, monkeypatch), [body])
    assert engine.asked == body


async def test_other_kinds_of_bodies_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(200, [b"{}"])
    form = [(b"content-type", b"multipart/form-data; boundary=x")]
    await exchange(around(engine, monkeypatch), [b"{}"], headers=form)
    assert engine.asked == b"{}"


async def test_streams_pass_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"]
    sent = await exchange(around(Engine(200, parts, b"text/event-stream"), monkeypatch), [b"{}"])
    assert [message["body"] for message in sent[1:]] == parts


@pytest.mark.walk("W5")
async def test_the_tuned_model_is_listed_first_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {
        "object": "list",
        "data": [
            {"id": "support-base", "max_model_len": 1024, "parent": None},
            {"id": "support", "max_model_len": None, "parent": "support-base"},
        ],
    }
    body = json.dumps(listed).encode()
    engine = Engine(200, [body[:20], body[20:]])
    found = whole(await exchange(around(engine, monkeypatch), [b""], "GET", "/v1/models", []))
    assert [(model["id"], model["max_model_len"]) for model in found["data"]] == [
        ("support", 1024),
        ("support-base", 1024),
    ]
    assert found["object"] == "list"


@pytest.mark.walk("W4")
@pytest.mark.parametrize("asked", ["suport", "gpt-4o", "a`b", ""])
async def test_a_wrong_name_is_told_the_tuned_models(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"message": f"The model `{asked}` does not exist. Valid aliases: support-base.", "code": 404}
    engine = Engine(404, [json.dumps({"error": error}).encode()])
    found = whole(await exchange(around(engine, monkeypatch), [json.dumps({"model": asked}).encode()]))
    assert found["error"] == {
        "message": f"The model `{asked}` does not exist. Ask for support (the tuned model) or support-base (its base).",
        "code": 404,
    }


@pytest.mark.parametrize("answer", [b'{"detail":"Not Found"}', b"oops", b'{"error":"text"}', b"[]"])
async def test_other_refusals_pass_as_they_are(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await exchange(around(Engine(404, [answer]), monkeypatch), [b"{}"])
    assert b"".join(message["body"] for message in sent[1:]) == answer


async def test_what_is_not_http_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await around(Engine(200, []), monkeypatch)({"type": "lifespan"}, never, send)
