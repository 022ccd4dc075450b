"""A real S3 server for the unit tests of what talks to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubetune_shared.store import Store
from tests.support.s3 import S3Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """With the buckets ``models``, ``data`` and ``out``."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        for bucket in ("models", "data", "out"):
            running.make_bucket(bucket)
        yield running


@pytest.fixture
def known_server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its credentials in the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def store(known_server: S3Server) -> Store:
    """A client of the server."""
    return Store(known_server.store)
