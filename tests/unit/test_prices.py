"""GPU classes, budgets, the nodes' GPUs, and what a training has cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.finetunejob.api import CostStatus, FineTuneJob
from kubetune.finetunejob.report.cost import charge
from kubetune.prices import GpuClass, class_of, read_budgets, read_gpu_classes
from kubetune.settings import Settings, SettingsError
from kubetune.workload.nodes import accelerators, gpu_nodes, selected
from tests.support.objects import finetunejob

RTX = "NVIDIA-GeForce-RTX-3060"
GIB = 1024**3
CLASSES = (
    GpuClass("NVIDIA-A100", price_per_hour=2.0, watts=400),
    GpuClass("NVIDIA-GeForce", watts=100),
    GpuClass(RTX, watts=170, tflops=51, memory_bytes=12 * GIB, compute_capability="8.6"),
)


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (RTX, RTX),
        (f"{RTX}-Ti", RTX),
        ("NVIDIA-GeForce-RTX-4090", "NVIDIA-GeForce"),
        ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100"),
        ("Tesla-T4", None),
        (None, None),
    ],
)
def test_the_longest_beginning_names_the_class(product: str | None, expected: str | None) -> None:
    found = class_of(product, CLASSES)
    assert (found.name if found else None) == expected


def test_settings_read_classes_and_budgets() -> None:
    settings = Settings.from_env(
        {
            "KUBETUNE_GPU_CLASSES": '[{"name": "NVIDIA-A100", "pricePerHour": 2, "memory": "40Gi"}]',
            "KUBETUNE_BUDGETS": '{"team-a": 50}',
            "KUBETUNE_CURRENCY": "EUR",
            "KUBETUNE_ELECTRICITY_PER_KWH": "0.3",
            "KUBETUNE_CPU_WATTS": "",
            "KUBETUNE_MAX_RUNNING_PER_NAMESPACE": "2",
        }
    )
    assert settings.gpu_classes == (GpuClass("NVIDIA-A100", price_per_hour=2.0, memory_bytes=40 * GIB),)
    assert (settings.budgets, settings.currency, settings.max_running_per_namespace) == ({"team-a": 50.0}, "EUR", 2)
    assert (settings.electricity_per_kwh, settings.cpu_watts) == (0.3, None)
    assert (read_gpu_classes(" "), read_budgets("")) == ((), {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("GPU_CLASSES", "[", "is not JSON"),
        ("GPU_CLASSES", "{}", "JSON list"),
        ("GPU_CLASSES", "[{}]", "entry 0 must be an object with a name"),
        ("GPU_CLASSES", '[{"name": "x", "price": 1}]', "unknown members: price"),
        ("GPU_CLASSES", '[{"name": "x", "watts": -1}]', r"entry 0 \(x\): watts must be a number from 0"),
        ("GPU_CLASSES", '[{"name": "x", "computeCapability": "86"}]', "written like '8.6'"),
        ("GPU_CLASSES", '[{"name": "x", "memory": "12 GB"}]', "no quantity"),
        ("BUDGETS", "[]", "JSON object"),
        ("BUDGETS", '{"team-a": "much"}', "the budget of team-a must be a number"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"KUBETUNE_{name}.*{words}"):
        Settings.from_env({f"KUBETUNE_{name}": text})


def node(name: str, gpus: int = 1, product: str = RTX, memory: str = "12288", **labels: str) -> dict[str, Any]:
    own = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": memory}
    own |= {"nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "6"} | labels
    allocatable = {"cpu": "8"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {"metadata": {"name": name, "labels": own}, "status": {"allocatable": allocatable}}


def test_a_nodes_labels_tell_what_its_gpus_are() -> None:
    (found,) = gpu_nodes([node("a", gpus=2), node("b", gpus=0)], "nvidia.com/gpu")
    assert (found.name, found.gpus, found.product) == ("a", 2, RTX)
    assert (found.memory_bytes, found.compute_capability) == (12 * GIB, "8.6")


def test_only_nodes_the_pod_may_land_on_count() -> None:
    nodes = gpu_nodes([node("a"), node("b", size="big")], "nvidia.com/gpu")
    assert [one.name for one in selected(nodes, {"size": "big"})] == ["b"]
    assert [one.name for one in selected(nodes, None)] == ["a", "b"]


def test_labels_win_and_classes_complete_them() -> None:
    bare = {"metadata": {"name": "c"}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}
    nodes = gpu_nodes([node("a"), node("b"), node("d", product=f"{RTX}-Ti", memory="8192"), bare], "nvidia.com/gpu")
    found = accelerators(nodes, CLASSES)
    assert [(one.name, one.memory_bytes // GIB, one.watts) for one in found] == [(RTX, 12, 170), (f"{RTX}-Ti", 8, 170)]
    unlabelled = gpu_nodes([node("e", memory="")], "nvidia.com/gpu")
    assert [one.memory_bytes for one in accelerators(unlabelled, CLASSES)] == [12 * GIB]
    assert accelerators(unlabelled, ()) == ()


def custom(gpu: int = 1) -> FineTuneJob:
    return FineTuneJob.parse(finetunejob(resources={"gpu": gpu}))


PRICED = Settings(gpu_classes=CLASSES, currency="EUR", electricity_per_kwh=0.5, cpu_watts=200)


@pytest.mark.parametrize(
    ("gpu", "product", "settings", "amount", "kwh"),
    [
        (1, "NVIDIA-A100-40GB", PRICED, 2.0, 0.4),
        (1, RTX, PRICED, 0.085, 0.17),
        (0, None, PRICED, 0.1, 0.2),
        (1, "Tesla-T4", PRICED, None, None),
        (1, None, PRICED, None, None),
        (1, RTX, Settings(gpu_classes=CLASSES), None, 0.17),
        (0, None, Settings(), None, None),
    ],
)
def test_an_hour(gpu: int, product: str | None, settings: Settings, amount: float | None, kwh: float | None) -> None:
    cost = charge(None, 3600.0, custom(gpu).spec, settings, product)
    assert cost is not None
    assert (cost.active_seconds, cost.gpu_seconds) == (3600.0, 3600.0 * gpu)
    assert cost.amount == (None if amount is None else pytest.approx(amount))
    assert cost.kwh == (None if kwh is None else pytest.approx(kwh))
    assert cost.currency == (None if amount is None else "EUR")
    assert (cost.display is None) == (amount is None)


def test_display() -> None:
    cost = charge(None, 5580.0, custom().spec, PRICED, "NVIDIA-A100")
    assert cost is not None
    assert cost.display == "3.10 EUR"


def test_a_killed_pods_time_is_not_lost_and_not_counted_twice() -> None:
    """900 s told, killed; its successor's count begins at the last checkpoint's 600 s and ends at 1000 s."""
    cost: CostStatus | None = None
    for told in (300.0, 900.0, 600.0, 1000.0, 1000.0, None):
        cost = charge(cost, told, custom().spec, PRICED, None)
    assert cost is not None
    assert (cost.active_seconds, cost.reported_seconds) == (1300.0, 1000.0)


def test_another_gpu_costs_from_then_on() -> None:
    cost = charge(None, 3600.0, custom().spec, PRICED, "NVIDIA-A100")
    cost = charge(cost, None, custom().spec, PRICED, RTX)
    assert cost is not None
    assert (cost.amount, cost.accelerator) == (2.0, RTX)
    cost = charge(cost, 7200.0, custom().spec, PRICED, None)
    assert cost is not None
    assert cost.amount == pytest.approx(2.085)


@pytest.mark.parametrize("told", [None, float("nan"), float("inf"), -1.0])
def test_what_cannot_be_is_not_counted(told: float | None) -> None:
    old = charge(None, 60.0, custom().spec, PRICED, RTX)
    assert charge(old, told, custom().spec, PRICED, None) == old
    assert charge(None, told, custom().spec, PRICED, None) is None


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=50))
def test_a_sum_never_falls_and_rounding_adds_up_to_nothing(told: list[float]) -> None:
    cost: CostStatus | None = None
    exact = before = 0.0
    for value in told:
        exact += max(0.0, value - before)
        before = value
        earlier = cost.amount if cost and cost.amount else 0.0
        cost = charge(cost, value, custom().spec, PRICED, "NVIDIA-A100")
        assert cost is not None
        assert (cost.amount or 0.0) >= earlier
    assert cost is not None
    assert cost.amount == pytest.approx(exact / 3600 * 2, abs=1e-4)
