"""A control plane with what the docs' commands name: the chart's objects, the manifests of the pages, a node."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cluster import Cluster

from .markdown import ROOT, fences, name, pages

LINKED = ("Makefile", "charts", "crds", "docs", "images", "manifests", "operator", "requirements-dev.txt", "tests")
NAMESPACES = ("kubetune", "team-a", "team-b", "my-team")
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "workstation"}}


@dataclass(frozen=True)
class Shell:
    """bash in a folder that looks like the checkout, with KUBECONFIG and the tools."""

    folder: Path
    env: Mapping[str, str]

    def run(self, text: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """What became of it; a pipe fails when a part of it does."""
        argv = ["bash", "-uo", "pipefail", "-c", text]
        return subprocess.run(
            argv, cwd=self.folder, env=dict(self.env), input=stdin, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def must(self, text: str, stdin: str = "") -> str:
        """Its output; it has to succeed."""
        done = self.run(text, stdin)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def checkout(folder: Path) -> Path:
    """A folder in which the docs' commands find the checkout and may leave files."""
    for part in LINKED:
        (folder / part).symlink_to(ROOT / part)
    (folder / "images.yaml").write_text("images: {}\n")
    return folder


def yaml_blocks() -> list[tuple[str, str]]:
    """Place and text of every YAML block that is a manifest."""
    found = []
    for path in pages():
        for fence in fences(name(path), path.read_text(encoding="utf-8")):
            if fence.language == "yaml" and "apiVersion:" in fence.text:
                found.append((f"{fence.page}:{fence.line}", fence.text))
    return found


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """In a control plane of its own; gone with the test process."""
    folder = checkout(tmp_path_factory.mktemp("checkout"))
    with Cluster(f"docs-{os.getpid()}", control_plane=True, tied=True) as cluster:
        made = Shell(folder, {**os.environ, **cluster.env})
        _fill(made)
        yield made


def _fill(shell: Shell) -> None:
    shell.must(f"kubectl apply --server-side -f {ROOT / 'crds'}")
    shell.must("kubectl wait --for=condition=Established crd --all --timeout=30s")
    for namespace in NAMESPACES:
        shell.must(f"kubectl create namespace {namespace}")
    shell.must("kubectl create -f -", yaml.safe_dump(NODE))
    # Without hooks: nothing here runs a pod.
    shell.must("helm template kubetune charts/kubetune -n kubetune --no-hooks | kubectl apply -n kubetune -f -")
    texts = [text for _, text in yaml_blocks()]
    for text in texts:
        # A page that prints a manifest applies it from a file of its name.
        (shell.folder / f"{yaml.safe_load(text)['metadata']['name']}.yaml").write_text(text)
    texts += [path.read_text() for path in sorted((ROOT / "manifests/examples").rglob("*.yaml"))]
    for namespace, text in itertools.product(("default", "kubetune"), texts):
        done = shell.run(f"kubectl create -n {namespace} -f -", text)
        assert done.returncode == 0 or "AlreadyExists" in done.stderr, f"{text}\n{done.stderr}"
