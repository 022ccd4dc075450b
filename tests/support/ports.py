"""Loopback ports for servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket

PORTS = range(20000, 32768)
"""Below those that the kernel gives to outgoing connections: a server that is away for a while finds its own again."""


def free_port() -> int:
    """A loopback port nobody listens on."""
    # Not the common generator: what trains in a test's own process gives it the same seed in every worker.
    choose = random.SystemRandom().choice
    while True:
        port = choose(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
