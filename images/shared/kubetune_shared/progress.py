"""How a workload says where it is: a small HTTP server that the operator polls and Prometheus scrapes."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from kubetune_contract import dumps
from kubetune_contract.paths import PROGRESS_PORT

from .series import Catalog

log = logging.getLogger(__name__)

IDLE_SECONDS = 60
"""A connection on which nobody asks for so long is closed, and its thread ends."""


class ProgressServer:
    """Serves the last published dataclass: ``/progress`` as JSON, its numbers by ``catalog`` on ``/metrics``,
    ``/healthz``."""

    def __init__(self, catalog: Catalog, port: int | None = None) -> None:
        wanted = port if port is not None else int(os.environ.get("KUBETUNE_PROGRESS_PORT", PROGRESS_PORT))
        self.registry = CollectorRegistry()
        self.registry.register(_Numbers(self, catalog))
        self._value: Any = None
        self._server = _Server(("", wanted), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="progress", daemon=True)

    @property
    def port(self) -> int:
        """The port in use; differs from the one asked for when that was 0."""
        return int(self._server.server_address[1])

    @property
    def value(self) -> Any:
        """What was published last, None before that."""
        return self._value

    def publish(self, value: Any) -> None:
        """Replaces what ``/progress`` answers. ``value`` is a dataclass of the contract."""
        self._value = value

    def start(self) -> ProgressServer:
        """Begins to answer, in a thread that does not keep the process alive."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Frees the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> ProgressServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own version asks DNS for this host's name, which can take seconds and is not needed.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked and went away again is no failure of the workload's: no traceback for it."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, (OSError, ValueError)) else logging.WARNING
        log.log(level, "a request for progress from %s was not answered: %r", client_address, error)


class _Numbers:
    """Reads the numbers when Prometheus asks, so that publishing costs nothing."""

    def __init__(self, server: ProgressServer, catalog: Catalog) -> None:
        self._server, self._catalog = server, catalog

    def collect(self) -> Iterable[Metric]:
        yield from self._catalog.families(self._server.value)


def _handler(server: ProgressServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # The operator asks every two seconds: one connection for all questions, not one for each.
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS
        # Headers and body in one write: as two, the second waits 40 ms for the first one's acknowledgement.
        wbufsize = -1

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            elif path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(server.registry))
            elif path == "/progress" and server.value is not None:
                self._answer(200, "application/json", dumps(server.value).encode())
            elif path == "/progress":
                self._answer(503, "text/plain", b"nothing to report yet\n")
            else:
                self._answer(404, "text/plain", b"use /progress, /metrics or /healthz\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            # A poll every few seconds would bury the training log.
            log.debug(format, *args)

    return Handler
