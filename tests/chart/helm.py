"""Running helm and kubeconform, and reading what they make of the chart."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/kubetune"
RELEASE = "kubetune"
NAMESPACE = "kubetune-system"

Object = dict[str, Any]


def tool(name: str) -> str:
    """Path of a tool: on PATH, or where `make` puts the ones it builds."""
    cache = Path(os.environ.get("KUBETUNE_CACHE", Path.home() / ".cache/kubetune"))
    found = shutil.which(name) or shutil.which(name, path=str(cache / "bin"))
    if not found:
        pytest.fail(f"{name} is not installed; run `make check`, which builds it, or put it on PATH")
    return found


def helm(*argv: str) -> subprocess.CompletedProcess[str]:
    """Runs helm without touching the settings of whoever runs the tests."""
    return subprocess.run([tool("helm"), *argv], capture_output=True, text=True, check=False, cwd=ROOT)


@functools.cache
def template(*sets: str) -> str:
    """The chart as YAML text with ``--set`` values. Raises AssertionError with helm's message."""
    argv = [part for value in sets for part in ("--set", value)]
    done = helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*sets: str) -> list[Object]:
    """The chart's objects, hooks and tests included."""
    return [document for document in yaml.safe_load_all(template(*sets)) if document]


def named(objects: list[Object], kind: str, name: str = "") -> Object:
    """The one object of a kind whose name ends so."""
    (found,) = (obj for obj in objects if obj["kind"] == kind and obj["metadata"]["name"].endswith(name))
    return found


def kinds(objects: list[Object]) -> set[str]:
    """Which kinds there are."""
    return {obj["kind"] for obj in objects}


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and spec of every pod and pod template."""
    for obj in objects:
        spec = obj if obj["kind"] == "Pod" else obj.get("spec", {}).get("template", {})
        if spec.get("spec", {}).get("containers"):
            yield f"{obj['kind']} {obj['metadata']['name']}", spec["spec"]


def environment(pod: Object) -> dict[str, str]:
    """The plain variables of a pod's first container."""
    return {entry["name"]: entry["value"] for entry in pod["containers"][0].get("env", []) if "value" in entry}
