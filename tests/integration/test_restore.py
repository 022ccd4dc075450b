"""Backup and restore into a new cluster, by the very commands of docs/operations.md."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import CHART
from tests.docs.markdown import Fence, fences
from tests.docs.rules import RESTORE
from tests.docs.script import runnable
from tests.support.installation import TEAM, Installation, empty_cluster
from tests.support.objects import EVALUATION, finetunejob
from tests.support.operator import ROOT
from tests.support.points import Record
from tests.support.workloads import ServerPods, eval_summary, finish_training, model_deployment

PAGE = "docs/operations.md"
RELEASE = "kubetune"
SETTLE_SECONDS = 3.0
MADE = ("finetunejob", "evaluation", "modeldeployment")


def blocks() -> tuple[Fence, Fence]:
    """Backup and restore, as the page prints them."""
    backup, restore = runnable(fences(PAGE, (ROOT / PAGE).read_text(encoding="utf-8")), RESTORE)
    return backup, restore


def type_in(block: Fence, installation: Installation, folder: Path) -> None:
    """As a reader would, in a folder of their own."""
    argv = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(argv, cwd=folder, env=installation.shell.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the backup lies."""
    made = tmp_path / "backup"
    made.mkdir()
    return made


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Installation]:
    """The cluster that is backed up."""
    with empty_cluster("backup", RELEASE, tmp_path) as found:
        found.shell.helm("install", str(CHART), "--set", f"objectStore.credentialNamespaces={{{TEAM}}}")
        found.shell.namespace_keys()
        found.shell.run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield found


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Installation]:
    """The cluster that gets the backup."""
    with empty_cluster("restore", RELEASE, tmp_path) as found:
        yield found


@pytest.mark.skipif(shutil.which("jq") is None, reason="the page's commands need jq, which is not installed")
def test_a_backup_comes_back_in_another_cluster(
    old: Installation, new: Installation, folder: Path, record_property: Record
) -> None:
    backup, restore = blocks()
    with old.operator(ROOT):
        live(old)
        type_in(backup, old, folder)
    told = {kind: old.kube.status(kind, "demo") for kind in MADE}

    new.shell.run("kubectl", "create", "-f", str(folder / "secrets.json"))
    new.shell.helm("install", str(CHART), "-f", str(folder / "values.yaml"))
    new.shell.namespace_keys()
    new.shell.run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    for kept in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        keys = [one.shell.get("secret", "kubetune-object-store")["data"][kept] for one in (old, new)]
        assert keys[0] == keys[1]
    type_in(restore, new, folder)
    with new.operator(ROOT):
        check(new, told)
    record_property(
        "point",
        f"backup and restore by the commands of {PAGE}: in another cluster a finished training and its Evaluation keep "
        "status and verdict and run nothing, a served model is admitted and loaded as the same version, and a training "
        "that had not ended begins again",
    )


def live(old: Installation) -> None:
    """A training that has ended, its Evaluation, a model that is served by its verdict, and a training under way."""
    kube, kubelet = old.kube, old.kubelet
    kube.create("finetunejob", finetunejob(evaluation=EVALUATION))
    finish_training(kube, kubelet)
    pod = kubelet.pod_of("demo-evaluate")
    kubelet.run(pod)
    kubelet.succeed(pod, eval_summary())
    kube.wait_phase("evaluation", "demo", "Succeeded")
    kube.create("modeldeployment", model_deployment(requireVerdict={"evaluationRef": {"name": "demo"}}))
    pods = ServerPods(kube, kubelet)
    pods.answer(pods.new())
    kube.wait_phase("modeldeployment", "demo", "Ready")
    kube.create("finetunejob", finetunejob("open"))
    kubelet.run(kubelet.pod_of("open-train"))
    kube.wait_phase("finetunejob", "open", "Running")


def check(new: Installation, told: dict[str, Any]) -> None:
    kube, kubelet = new.kube, new.kubelet
    pods = ServerPods(kube, kubelet)
    pods.answer(pods.new())
    served = kube.wait_phase("modeldeployment", "demo", "Ready")
    kubelet.run(kubelet.pod_of("open-train"))
    kube.wait_phase("finetunejob", "open", "Running")
    time.sleep(SETTLE_SECONDS)
    for kind in ("finetunejob", "evaluation"):
        assert kube.status(kind, "demo") == told[kind]
    assert [job["metadata"]["name"] for job in kube.list("job")] == ["open-train"]
    assert served["version"] == told["modeldeployment"]["version"]
    assert "ownerReferences" not in kube.must("evaluation", "demo")["metadata"]
