"""One S3 server with a tiny base and an adapter; the server's two commands as their containers would run them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ModelRef, Owner, ServeConfig
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store
from tests.support import adapter
from tests.support.command import Pod, source_roots
from tests.support.s3 import S3Server, s3_server

# Only the server's own environment has what these tests run.
collect_ignore_glob = [] if importlib.util.find_spec("vllm") else ["test_*.py"]
BASE_URI = "s3://models/tiny"
READY_SECONDS = 900
"""Half a minute on an idle machine; the limit is for one that is not."""


@dataclass
class Server(Pod[ServeConfig]):
    """One replica."""

    module = "kubetune_server"
    port_variable = "KUBETUNE_SERVE_PORT"
    seconds = 120

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Until the engine answers its probe."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, self.log
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.5)
        raise AssertionError(self.log)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The engine's answer; raises urllib.error.HTTPError when it refuses."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def complete(self, model: str, prompt: str, tokens: int = 8) -> str:
        """A greedy completion."""
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "seed": 1}
        text: str = self.ask("/v1/completions", body)["choices"][0]["text"]
        return text


@dataclass
class Servers:
    """Makes pods that share the store."""

    store_server: S3Server
    folder: Path
    count: int = 0

    @property
    def store(self) -> Store:
        """A client with the server's credentials."""
        return Store(self.store_server.store)

    def make(self, cache: Path | None = None, **changes: Any) -> Server:
        """The tiny model with its adapter, called demo, unless ``changes`` (of ServeConfig) say otherwise."""
        self.count += 1
        folder = self.folder / f"pod-{self.count}"
        config = ServeConfig(
            schema=1,
            owner=Owner("test", "demo", "uid"),
            version="v1",
            model=ModelRef("demo", BASE_URI, "s3://models/adapter"),
            store=self.store_server.store,
        )
        environment = {
            **os.environ,
            **self.store_server.environment,
            "PYTHONPATH": os.pathsep.join(map(str, source_roots("server"))),
            "KUBETUNE_CACHE_DIR": str(cache or folder / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        return Server(replace(config, **changes), folder, environment)


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A bucket ``models``; its credentials are this process's too."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        running.make_bucket("models")
        yield running


@pytest.fixture(scope="session")
def base(store_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model without chat template, published at ``s3://models/tiny``."""
    from tests.trainer import tiny  # noqa: PLC0415 (needs torch)

    folder = tiny.build(tmp_path_factory.mktemp("base"), chat_template=None, head_dim=32)
    publish(Store(store_server.store), folder, BASE_URI, kind="model", meta={})
    return folder


@pytest.fixture(scope="session")
def tuned(store_server: S3Server, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter at ``s3://models/adapter``, published as the trainer does, with a chat template of its own."""
    folder = adapter.build(base, tmp_path_factory.mktemp("adapter"), BASE_URI)
    from tests.trainer import tiny  # noqa: PLC0415 (needs torch)

    (folder / "chat_template.jinja").write_text(tiny.CHAT_TEMPLATE)
    meta = {"baseModel": {"uri": BASE_URI}}
    publish(Store(store_server.store), folder, "s3://models/adapter", kind="adapter", meta=meta)
    return folder


@pytest.fixture
def servers(store_server: S3Server, base: Path, tuned: Path, tmp_path: Path) -> Servers:
    """For one test."""
    return Servers(store_server, tmp_path)
