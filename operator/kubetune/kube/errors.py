"""The API server's refusals, as the reconciler tells them apart."""

from __future__ import annotations

import json
from dataclasses import dataclass


class NotLive(Exception):  # noqa: N818 - no error: it asks for another look
    """What was read may be behind, and that does not suffice for what would follow from it."""


_UNTYPED = "failed to create typed patch object"


@dataclass
class ApiError(Exception):
    """An answer that is no success, or no answer at all (``status`` 0).

    ``message`` is the server's own sentence, ``retry_after`` its wish in seconds.
    """

    status: int
    reason: str
    message: str
    verb: str = ""
    path: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.path}: {self.status} {self.reason}: {self.message}"

    @property
    def is_not_found(self) -> bool:
        return self.status == 404

    @property
    def is_already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        """Somebody changed the object in between: read again and decide again."""
        return self.status == 409

    @property
    def is_forbidden(self) -> bool:
        """A missing permission, an exhausted quota or an admission policy."""
        return self.status == 403

    @property
    def is_invalid(self) -> bool:
        """The object itself is refused; sending it again cannot help. 500 is the answer to a server-side apply whose
        members have wrong types or are not in the schema."""
        return self.status in {400, 422} or (self.status == 500 and _UNTYPED in self.message)

    @property
    def is_transient(self) -> bool:
        """The server or the way to it is in trouble; the request may be right."""
        return self.status in {0, 401, 408, 410, 429} or (self.status >= 500 and not self.is_invalid)


def from_response(status: int, body: bytes, verb: str, path: str, retry_after: str | None) -> ApiError:
    """Reads a ``metav1.Status``; anything else (a proxy's HTML page) is kept as its first 200 characters."""
    reason, message = "", body[:200].decode("utf-8", "replace")
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if isinstance(data, dict) and data.get("kind") == "Status":
        reason, message = data.get("reason") or "", data.get("message") or ""
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ApiError(status, reason or f"HTTP{status}", message, verb, path, wait)
