"""Puts the demo's base model and data into the object store: from this machine's cache, or made by a Job."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kubetune_contract import KubeTuneError, ObjectStore
from kubetune_shared.artifacts import fetch, publish, read_manifest
from kubetune_shared.manifest import NAME as MANIFEST
from kubetune_shared.manifest import Manifest, parse
from kubetune_shared.store import Store
from tests.cluster.layout import cache_root
from tests.inside import locked

from .kube import Kube, is_true
from .seed_objects import job_name, job_objects
from .settings import Settings
from .shell import ROOT, DemoError
from .source import INPUT, Source

FOLDERS = ("base", "data")
JOB_SECONDS = 3600.0
PINS = tuple(ROOT / "images" / name for name in ("base/Dockerfile", "torch/Dockerfile", "torch/requirements-cpu.txt"))


def recipe_key(source: Source) -> str:
    """Names what the base model and the data depend on: the code, the image's Python and libraries, the arguments.

    The image's own name would change with every line of the trainer, which has no part in this.
    """
    digest = hashlib.sha256(repr(source.arguments).encode())
    for path in (*source.code, *PINS):
        digest.update(path.read_bytes())
    digest.update(locked((ROOT / "images" / "trainer" / "requirements.txt").read_text(), source.makers).encode())
    return digest.hexdigest()[:16]


class Seeder:
    """Seeds the source's folder of the bucket, through a connection to the store."""

    def __init__(self, kube: Kube, settings: Settings, namespace: str, source: Source) -> None:
        self.kube = kube
        self.settings = settings
        self.namespace = namespace
        self.source = source
        self.prefix = f"s3://{settings.bucket}/{source.name}"
        self.key = recipe_key(source)
        self.cache = cache_root() / "demo" / self.key

    def run(self) -> str:
        """Seeds what is missing; returns where it came from.

        Raises NotToBeHadError when it is neither in the store nor in the cache, and what it is made of cannot be
        fetched.
        """
        with connect(self.kube, self.settings) as store:
            if self._is_seeded(store):
                return "already in the store"
            if all(self._is_cached(folder) for folder in FOLDERS):
                for folder in FOLDERS:
                    self._publish(store, folder)
                return f"from the cache {self.cache}"
            arguments = [self.prefix, self.key, *self.source.arguments, *self._hand_over(store)]
        self._run_job(arguments)
        with connect(self.kube, self.settings) as store:
            for folder in FOLDERS:
                fetch(store, f"{self.prefix}/{folder}", self.cache / folder)
            store.delete_folder(f"{self.prefix}/{INPUT}")
        return f"made in this cluster, kept in {self.cache} for the next one"

    def facts(self) -> dict[str, Any]:
        """What the data's maker says of it: how many questions, from how many files."""
        with connect(self.kube, self.settings) as store:
            found: dict[str, Any] = json.loads(store.read(f"{self.prefix}/data/facts.json"))
        return found

    def _hand_over(self, store: Store) -> list[str]:
        """Puts what the pod needs from elsewhere into the store; returns the file's name for its command line."""
        if self.source.fetch is None:
            return []
        path = self.source.fetch()
        store.upload(path, f"{self.prefix}/{INPUT}/{path.name}")
        return [path.name]

    def _is_seeded(self, store: Store) -> bool:
        found = [read_manifest(store, f"{self.prefix}/{folder}") for folder in FOLDERS]
        return all(one is not None and one[0].config.get("key") == self.key for one in found)

    def _cached(self, folder: str) -> Manifest:
        path = self.cache / folder / MANIFEST
        return parse(path.read_bytes(), str(path))

    def _is_cached(self, folder: str) -> bool:
        try:
            return self._cached(folder).config.get("key") == self.key
        except (OSError, KubeTuneError):
            return False

    def _publish(self, store: Store, folder: str) -> None:
        made = self._cached(folder)
        meta = {"config": made.config, "libraries": made.libraries}
        publish(store, self.cache / folder, f"{self.prefix}/{folder}", kind=made.kind, meta=meta)

    def _run_job(self, arguments: list[str]) -> None:
        name = job_name(self.source)
        self.kube.run("delete", "job", name, "-n", self.namespace, "--ignore-not-found", "--wait")
        self.kube.apply(self.namespace, job_objects(self.settings, self.source, arguments))
        last = ""

        def finished() -> bool:
            nonlocal last
            line = self._last_line()
            if line and line != last:
                print(f"   {line}", flush=True)
                last = line
            job = self.kube.get(self.namespace, "job", name)
            if is_true(job, "Failed"):
                raise DemoError(
                    f"making the base model failed: `kubectl -n {self.namespace} logs job/{name}` says why ({last})"
                )
            return is_true(job, "Complete")

        self.kube.wait("the base model was made", finished, JOB_SECONDS, every=3)

    def _last_line(self) -> str:
        try:
            return self.kube.run("logs", f"job/{job_name(self.source)}", "-n", self.namespace, "--tail=1").strip()
        except DemoError:
            return ""  # the container has not started yet


@contextmanager
def connect(kube: Kube, settings: Settings) -> Iterator[Store]:
    """A client of the store; inside the cluster's network through a port-forward."""
    secret = kube.run(
        "get", "secret", settings.secret, "-n", "kubetune", "-o",
        "go-template={{.data.AWS_ACCESS_KEY_ID | base64decode}} {{.data.AWS_SECRET_ACCESS_KEY | base64decode}}",
    )  # fmt: skip
    access, key = secret.split()
    os.environ.update(AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=key)
    service = settings.service
    if service is None:
        yield Store(ObjectStore(settings.endpoint or None))
        return
    namespace, name, port = service
    with kube.forward(namespace, f"svc/{name}", port) as local:
        parts = urlsplit(settings.endpoint)
        yield Store(ObjectStore(urlunsplit((parts.scheme, f"127.0.0.1:{local}", "", "", ""))))
