"""One S3 server and one tiny model for all trainings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3 import S3Server, s3_server
from tests.support.training import Jobs, upload

from . import tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The libraries' deprecation warnings about each other are not ours to mend."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Buckets ``models`` (with ``tiny``), ``data`` and ``out``."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        for bucket in ("models", "data", "out"):
            running.make_bucket(bucket)
        yield running


@pytest.fixture(scope="session")
def base(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder, also at ``s3://models/tiny``."""
    folder = tiny.build(tmp_path_factory.mktemp("base"))
    upload(server, folder, "s3://models/tiny")
    return folder


@pytest.fixture
def jobs(server: S3Server, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Jobs of one test."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Jobs(server, tmp_path)
