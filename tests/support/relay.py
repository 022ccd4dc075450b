"""A TCP relay on loopback that counts what comes back, to see how much a client really fetched."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Relay:
    """Where it listens, and what it has passed on to clients."""

    endpoint: str
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def relay(endpoint: str) -> Iterator[Relay]:
    """Passes connections on to ``endpoint`` (http://host:port) for as long as the context lasts."""
    target = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(
            target=_serve, args=(listener, (target.hostname or "", target.port or 80), made), daemon=True
        )
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _serve(listener: socket.socket, target: tuple[str, int], made: Relay) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_connect, args=(client, target, made), daemon=True).start()


def _connect(client: socket.socket, target: tuple[str, int], made: Relay) -> None:
    """One connection, both ways, until either side ends it."""
    with client, suppress(OSError), socket.create_connection(target) as server:
        back = threading.Thread(target=_pass, args=(server, client, made), daemon=True)
        back.start()
        _pass(client, server, None)
        back.join()


def _pass(source: socket.socket, sink: socket.socket, made: Relay | None) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if made:
                with made.lock:
                    made.received += len(data)
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
