"""Who holds the CPU and the main memory that a pod waits for."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune.workload.crowd import explain_crowd, is_crowd

Object = dict[str, Any]


def pod(
    name: str, cpu: str, memory: str, *, kind: str = "finetunejob", component: str = "trainer", **more: Any
) -> Object:
    labels = {
        "app.kubernetes.io/managed-by": "kubetune",
        "app.kubernetes.io/component": component,
        f"kubetune.io/{kind}": name,
    }
    requests = {"cpu": cpu, "memory": memory}
    return {
        "metadata": {"name": f"{name}-x", "namespace": "ns", "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"resources": {"requests": requests}}]} | more.pop("spec", {}),
        "status": {"phase": "Running"} | more,
    }


WANTS: Object = {"containers": [{"resources": {"requests": {"cpu": "1", "memory": "4Gi"}}}]}


@pytest.mark.walk("C10")
def test_it_is_waited_for_and_whoever_holds_it_is_named() -> None:
    pods = [
        pod("small", "250m", "1Gi"),
        pod("checks", "900m", "1Gi", component="preflight"),
        pod("large", "1500m", "1Gi", kind="evaluation"),
        pod("done", "9", "1Gi", phase="Succeeded"),
        pod("unplaced", "9", "1Gi", spec={"nodeName": ""}),
    ]
    fact = explain_crowd(WANTS, pods, "0/1 nodes are available: 1 Insufficient cpu.")
    assert fact.reason == "Unschedulable"
    assert fact.message == (
        "Waits for 1 CPU, which no node has free now. Of KubeTune's pods these hold most: Evaluation ns/large "
        "(1.5 CPUs), FineTuneJob ns/small (0.25 CPUs). It starts by itself."
    )


@pytest.mark.walk("C10")
def test_others_may_hold_it() -> None:
    fact = explain_crowd(WANTS, [], "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")
    assert "Waits for 1 CPU and 4 GiB of main memory" in fact.message
    assert "None of KubeTune's own pods holds it." in fact.message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1 Insufficient cpu.", True),
        ("1 Insufficient memory", True),
        ("1 Insufficient nvidia.com/gpu.", False),
        ("", False),
    ],
)
def test_only_cpu_and_memory_are_its_business(said: str, expected: bool) -> None:
    assert is_crowd(said) is expected
