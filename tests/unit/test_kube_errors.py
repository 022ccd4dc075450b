"""The API server's answers, and whatever a proxy says in its place."""

from __future__ import annotations

import json

import pytest

from kubetune.kube.errors import ApiError, from_response


def answer(status: int, reason: str, message: str = "text", retry_after: str | None = None) -> ApiError:
    body = {"kind": "Status", "reason": reason, "message": message, "code": status}
    return from_response(status, json.dumps(body).encode(), "create", "/path", retry_after)


@pytest.mark.parametrize(
    ("status", "reason", "trait"),
    [
        (404, "NotFound", "is_not_found"),
        (409, "AlreadyExists", "is_already_exists"),
        (409, "Conflict", "is_conflict"),
        (403, "Forbidden", "is_forbidden"),
        (422, "Invalid", "is_invalid"),
        (400, "BadRequest", "is_invalid"),
        (410, "Expired", "is_transient"),
        (429, "TooManyRequests", "is_transient"),
        (500, "InternalError", "is_transient"),
        (0, "NoAnswer", "is_transient"),
    ],
)
def test_traits(status: int, reason: str, trait: str) -> None:
    assert getattr(answer(status, reason), trait)


def test_a_conflict_is_not_an_existing_object() -> None:
    assert not answer(409, "Conflict").is_already_exists


def test_retry_after() -> None:
    assert answer(429, "TooManyRequests", retry_after="7").retry_after == 7
    assert answer(429, "TooManyRequests", retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None


def test_a_proxys_page_is_kept() -> None:
    error = from_response(502, b"<html>Bad Gateway</html>" * 100, "get", "/path", None)
    assert (error.status, error.reason) == (502, "HTTP502")
    assert error.message.startswith("<html>Bad Gateway")
    assert len(error.message) == 200
