"""One S3 server with a tiny base and adapters for all evaluations; an evaluation's configuration and its commands."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import Dataset, EvalConfig, Generation, MetricName, ModelRef, Owner
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store
from tests.support import adapter
from tests.support.command import Pod, source_roots
from tests.support.s3 import S3Server, s3_server

# Only the evaluator's own environment has what these tests run.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
BASE_URI = "s3://models/tiny"
TUNED = ModelRef("candidate", BASE_URI, "s3://models/adapter")
BASE = ModelRef("base", BASE_URI)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Libraries of one release warn of each other's next one."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))


@dataclass
class Evaluator(Pod[EvalConfig]):
    """One attempt at an evaluation."""

    module = "kubetune_evaluator"

    def both(self) -> dict[str, Any]:
        """Runs prepare and evaluate, which must succeed, and returns the summary."""
        return self.succeed("prepare", "evaluate")

    def read(self, store: Store, name: str) -> str:
        """A file of the published report."""
        return store.read(f"{self.config.output}/{name}").decode()

    def items(self, store: Store) -> list[dict[str, Any]]:
        """The lines of the published items."""
        return [json.loads(line) for line in self.read(store, "items.jsonl").splitlines()]


@dataclass
class Evaluations:
    """Makes evaluations that share server and models."""

    server: S3Server
    folder: Path
    count: int = 0

    @property
    def store(self) -> Store:
        """A client with the server's credentials."""
        return Store(self.server.store)

    def make(self, rows: list[dict[str, Any]], **changes: Any) -> Evaluator:
        """The tuned model against its base unless ``changes`` (of EvalConfig) say otherwise."""
        self.count += 1
        uid = f"uid-{self.count}"
        path = self.server.root / "data" / f"{uid}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = EvalConfig(
            schema=1,
            owner=Owner("test", f"evaluation-{self.count}", uid),
            candidate=TUNED,
            baselines=(BASE,),
            dataset=Dataset(f"s3://data/{path.name}"),
            metrics=(MetricName.EXACT_MATCH, MetricName.CHRF),
            output=f"s3://out/{uid}",
            store=self.server.store,
            generation=Generation(max_new_tokens=8, batch_size=16),
        )
        sources = os.pathsep.join(map(str, source_roots("evaluator")))
        # Whatever the machine offers, an evaluation without GPU must not use one.
        environment = os.environ | self.server.environment | {"PYTHONPATH": sources, "CUDA_VISIBLE_DEVICES": ""}
        return Evaluator(dataclasses.replace(config, **changes), self.folder / uid, environment)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Buckets ``models``, ``data`` and ``out``; its credentials are this process's too."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        for bucket in ("models", "data", "out"):
            running.make_bucket(bucket)
        yield running


@pytest.fixture(scope="session")
def base(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model without chat template, at ``s3://models/tiny``; its own settings ask for sampling."""
    from tests.trainer import tiny  # noqa: PLC0415 (needs torch)

    folder = tiny.build(tmp_path_factory.mktemp("base"), chat_template=None)
    settings = folder / "generation_config.json"
    asked = {"do_sample": True, "temperature": 1.5, "repetition_penalty": 1.9}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | asked))
    shutil.copytree(folder, server.root / "models" / "tiny")
    return folder


@pytest.fixture(scope="session")
def tuned(server: S3Server, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter at ``s3://models/adapter``, published as the trainer does, with a chat template of its own."""
    folder = adapter.build(base, tmp_path_factory.mktemp("adapter"), BASE_URI)
    from tests.trainer import tiny  # noqa: PLC0415 (needs torch)

    (folder / "chat_template.jinja").write_text(tiny.CHAT_TEMPLATE)
    meta = {"baseModel": {"uri": BASE_URI}, "datasetSha256": "0" * 64}
    publish(Store(server.store), folder, "s3://models/adapter", kind="adapter", meta=meta)
    return folder


@pytest.fixture(scope="session")
def other(server: S3Server, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another adapter on the same base, at ``s3://models/other``."""
    folder = adapter.build(base, tmp_path_factory.mktemp("other"), BASE_URI, seed=7)
    shutil.copytree(folder, server.root / "models" / "other")
    return folder


@pytest.fixture
def evaluations(server: S3Server, base: Path, tuned: Path, other: Path, tmp_path: Path) -> Evaluations:
    """For one test; names are unique over the session."""
    return Evaluations(server, tmp_path, count=time.monotonic_ns())
