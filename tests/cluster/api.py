"""The few calls to the API server that bringing a cluster up needs, on the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .layout import API_PORT, Addresses
from .namespaces import ClusterError

POLL_SECONDS = 0.1
NOT_FOUND = 404


class ApiError(RuntimeError):
    """The API server refused a request; the message is its own, ``status`` its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Requests as the cluster's administrator."""

    def __init__(self, addresses: Addresses, pki: Path) -> None:
        self.host = str(addresses.node)
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        """Send one request; return the decoded answer, raise ApiError or OSError."""
        connection = http.client.HTTPSConnection(self.host, API_PORT, context=self.context, timeout=10)
        try:
            headers = {"Content-Type": kind or "application/json", "Accept": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            said = content.decode(errors="replace")
            raise ApiError(f"{method} {path}: {answer.status} {said}", answer.status)
        return json.loads(content) if content.startswith(b"{") else content.decode()

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply of one object at its collection's path."""
        target = f"{path}/{manifest['metadata']['name']}?fieldManager=kubetune-cluster&force=true"
        self.request("PATCH", target, manifest, "application/apply-patch+yaml")

    def ready(self) -> bool:
        """Whether the API server says that it serves."""
        return bool(self.request("GET", "/readyz") == "ok")


def wait_for(what: str, done: Callable[[], bool], seconds: float, hint: str) -> None:
    """Poll until done answers True; refusals and broken connections count as not yet."""
    deadline = time.monotonic() + seconds
    problem = "no answer"
    while True:
        try:
            if done():
                return
        except (OSError, http.client.HTTPException, ApiError) as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} not reached within {seconds:.0f} s ({problem}); see {hint}")
        time.sleep(POLL_SECONDS)
