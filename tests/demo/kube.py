"""The cluster as the demo and the end-to-end tests see it: through kubectl, like everybody else."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .shell import DemoError, run

Object = dict[str, Any]
KINDS = ("finetunejobs.kubetune.io", "evaluations.kubetune.io", "modeldeployments.kubetune.io")
FORWARD_SECONDS = 20.0


@dataclass(frozen=True)
class Kube:
    """One cluster; ``env`` carries KUBECONFIG and PATH."""

    env: Mapping[str, str]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Standard output of ``kubectl ARGUMENTS``."""
        return run(["kubectl", *arguments], self.env, stdin, timeout)

    def get(self, namespace: str, kind: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        text = self.run("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    def list(self, namespace: str | None, kind: str, selector: str = "") -> list[Object]:
        """Objects of a kind in one namespace, or in all."""
        where = ["-n", namespace] if namespace else ["-A"]
        chosen = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.run("get", kind, *where, *chosen, "-o", "json"))["items"]
        return items

    def apply(self, namespace: str, objects: Sequence[Object]) -> None:
        """``kubectl apply`` of all of them."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "-n", namespace, "-f", "-", stdin=json.dumps(listed))

    def make_namespace(self, name: str) -> None:
        """Creates it unless it is there."""
        self.apply(name, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])

    def copy_secret(self, name: str, source: str, target: str) -> None:
        """Puts the Secret of one namespace into another."""
        secret = self.get(source, "secret", name)
        if secret is None:
            raise DemoError(f"Secret {source}/{name} does not exist: create it with the object store's credentials")
        plain = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": secret.get("data", {})}
        self.apply(target, [plain])

    def has_gpu(self) -> bool:
        """Whether a node offers nvidia.com/gpu."""
        nodes = self.list(None, "nodes")
        return any(int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) > 0 for node in nodes)

    def wait(self, what: str, done: Callable[[], Any], seconds: float, every: float = 1.0) -> Any:
        """Asks until ``done`` answers something true and returns that; raises DemoError after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (answer := done()):
            if time.monotonic() > deadline:
                raise DemoError(f"{what}: not within {seconds:.0f} s; look with `kubectl get events -A`")
            time.sleep(every)
        return answer

    @contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[int]:
        """``kubectl port-forward`` to ``target`` (such as ``svc/name``); yields the local port."""
        argv = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
        with subprocess.Popen(
            argv, env=dict(self.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                found = re.search(r":(\d+) ->", process.stdout.readline())
                if not found:
                    raise DemoError(f"`{' '.join(argv)}` failed: {process.stderr.read().strip()}")
                yield int(found[1])
            finally:
                process.terminate()


def condition(resource: Object | None, kind: str) -> Object:
    """The condition of that type; an empty one when it is not there (yet)."""
    conditions = ((resource or {}).get("status") or {}).get("conditions", ())
    return next((found for found in conditions if found["type"] == kind), {})


def is_true(resource: Object | None, kind: str) -> bool:
    """Whether the condition holds."""
    return condition(resource, kind).get("status") == "True"


def is_false(resource: Object | None, kind: str) -> bool:
    """Whether the condition is there and does not hold."""
    return condition(resource, kind).get("status") == "False"
