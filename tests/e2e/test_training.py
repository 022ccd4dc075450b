"""What is promised about a training, on real pods: suspended in the middle and gone on with, nothing is lost."""

from __future__ import annotations

import pytest

from kubetune_shared.artifacts import read_manifest
from kubetune_shared.store import Store
from tests.demo.kube import Kube, Object, condition
from tests.support.points import Record

from .conftest import Installation
from .resources import fine_tune_job
from .trainings import SECONDS, pods, status, succeeded, training

STEPS = 60
WEIGHTS = "adapter_model.safetensors"


def suspend(kube: Kube, namespace: str, name: str, wanted: bool) -> None:
    """Sets ``spec.suspend``."""
    patch = f'{{"spec":{{"suspend":{str(wanted).lower()}}}}}'
    kube.run("patch", "finetunejob", name, "-n", namespace, "--type=merge", "-p", patch)


def weights(store: Store, job: Object) -> str:
    """SHA-256 of the published adapter's weights."""
    found = read_manifest(store, job["status"]["artifact"]["uri"])
    assert found
    return next(entry.sha256 for entry in found[0].files if entry.path == WEIGHTS)


def test_suspended_and_resumed_is_bitwise_the_uninterrupted_run(
    kube: Kube, namespace: str, installation: Installation, store: Store, record_property: Record
) -> None:
    # One pass is more steps than these, so the pause is in the middle of an epoch.
    kube.apply(namespace, [fine_tune_job(name, installation.prefix, STEPS) for name in ("whole", "paused")])
    seen = training(kube, namespace, "paused")
    suspend(kube, namespace, "paused", True)
    kube.wait("its pod is gone", lambda: not pods(kube, namespace, "paused"), SECONDS)
    resting = kube.wait(
        "it says so", lambda: (s := status(kube, namespace, "paused")).get("phase") == "Suspended" and s, SECONDS
    )
    assert condition({"status": resting}, "Succeeded")["status"] == "Unknown"
    assert "completionTime" not in resting
    assert "failure" not in resting
    suspend(kube, namespace, "paused", False)
    paused = succeeded(kube, namespace, "paused")
    [pod] = pods(kube, namespace, "paused")
    log = kube.run("logs", pod["metadata"]["name"], "-n", namespace, "-c", "train")
    assert "going on from the checkpoint of step" in log
    whole = succeeded(kube, namespace, "whole")
    assert weights(store, paused) == weights(store, whole)
    assert paused["status"]["results"]["trainLoss"] == pytest.approx(whole["status"]["results"]["trainLoss"])
    record_property("point", f"suspended at step {seen} of {STEPS} and resumed, real pods: weights equal bit by bit")
