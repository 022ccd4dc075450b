"""Which node takes a pod's GPUs: affinity, runtime class, and why none does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune.common.conditions import ConditionStatus, Fact
from kubetune.common.pod_options import Resources
from kubetune.common.units import format_memory
from kubetune.evaluation.api import Evaluation
from kubetune.finetunejob.api import PreflightStatus
from kubetune.finetunejob.api.from_contract import preflight_status
from kubetune.finetunejob.job.gpu_fit import STATED, candidates, needed_memory
from kubetune.finetunejob.job.resources import build_preflight_job, build_train_job
from kubetune.finetunejob.observed import Observed
from kubetune.runs.read import JobObservation, read_run
from kubetune.settings import Settings
from kubetune.workload.gpu import Demand, Hardware, affinity_of, check_shares, demand_of, describe, read_demand
from kubetune.workload.misfit import expect_placement, explain_misfit, explain_taken
from kubetune.workload.nodes import gpu_nodes
from kubetune_contract import PreflightSummary, from_json
from tests.support.nodes import CAPABILITY_8_6, GPU, gpu_node, mib
from tests.support.objects import EVALUATION, preflight_summary
from tests.support.observed import job as observed_job
from tests.support.observed import pod as observed_pod
from tests.support.situations import condition, custom, judge

Object = dict[str, Any]

GIB = 1024**3
SETTINGS = Settings()
MIG, SHARED = "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"


def pod_spec(count: int = 1, resource: str = GPU, memory: int | None = None, **more: Any) -> Object:
    """A pod of ours; ``memory`` in GiB."""
    capability = more.pop("capability", None)
    affinity = affinity_of(Demand(resource, count, memory and memory * GIB, capability))
    container = {"name": "train", "resources": {"limits": {"memory": "4Gi", resource: count}}}
    return {"containers": [container], **({"affinity": affinity} if affinity else {}), **more}


def misfit(spec: Object, *nodes: Object) -> Fact:
    fact = explain_misfit(spec, nodes)
    assert fact is not None
    assert fact.status is ConditionStatus.FALSE
    return fact


def terms(demand: Demand) -> list[list[tuple[str, str, str]]]:
    affinity = affinity_of(demand)
    assert affinity
    found = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return [[(one["key"], one["operator"], *one["values"]) for one in term["matchExpressions"]] for term in found]


MEMORY, MAJOR, MINOR = "nvidia.com/gpu.memory", "nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor"


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        (Demand(GPU, 1, 12 * GIB), [[(MEMORY, "Gt", "12287")]]),
        (Demand(GPU, 2, 24 * 10**9), [[(MEMORY, "Gt", "22888")]]),
        (Demand(MIG, 1, 8 * GIB), [[(f"{MIG}.memory", "Gt", "8191")]]),
        (Demand(SHARED, 1, 8 * GIB), [[(MEMORY, "Gt", "8191")]]),
        (Demand(f"{MIG}.shared", 1, 8 * GIB), [[(f"{MIG}.memory", "Gt", "8191")]]),
        (Demand(GPU, 1, None, (8, 0)), [[(MAJOR, "Gt", "7")]]),
        (
            Demand(GPU, 1, None, (8, 6)),
            [[(MAJOR, "Gt", "8")], [(MAJOR, "In", "8"), (MINOR, "Gt", "5")]],
        ),
        (
            Demand(GPU, 1, 12 * GIB, (8, 6)),
            [
                [(MEMORY, "Gt", "12287"), (MAJOR, "Gt", "8")],
                [(MEMORY, "Gt", "12287"), (MAJOR, "In", "8"), (MINOR, "Gt", "5")],
            ],
        ),
    ],
)
def test_affinity(demand: Demand, expected: list[Any]) -> None:
    assert terms(demand) == expected


def test_whoever_asks_for_nothing_may_land_anywhere() -> None:
    assert affinity_of(Demand(GPU, 1)) is None
    assert demand_of(Resources(), SETTINGS) is None


@given(
    st.builds(
        Demand,
        resource=st.sampled_from([GPU, MIG, SHARED]),
        count=st.integers(1, 8),
        memory_bytes=st.none() | st.integers(1, 1 << 20).map(lambda count: count * 1024**2),
        compute_capability=st.none() | st.tuples(st.integers(1, 99), st.integers(0, 9)),
    )
)
def test_the_demand_can_be_read_off_the_pod(demand: Demand) -> None:
    affinity = affinity_of(demand)
    spec = {
        "containers": [{"resources": {"limits": {"memory": "1Gi", demand.resource: str(demand.count)}}}],
        **({"affinity": affinity} if affinity else {}),
    }
    assert read_demand(spec) == demand


def test_what_somebody_else_adds_to_the_affinity_is_passed_over() -> None:
    spec = pod_spec(memory=12)
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    term["matchExpressions"].append({"key": "zone", "operator": "In", "values": ["cellar"]})
    term["matchExpressions"].append({"key": "rack", "operator": "Exists"})
    assert read_demand(spec) == Demand(GPU, 1, 12 * GIB)


def trained(**spec: Any) -> Object:
    found: Object = build_train_job(custom(**spec), SETTINGS)["spec"]["template"]["spec"]
    return found


def test_the_spec_becomes_requests_and_affinity() -> None:
    resources = {"gpu": 2, "gpuMemory": "12G", "computeCapability": "8.6", "gpuResourceName": MIG, "memory": "8Gi"}
    spec = trained(resources=resources, nodeSelector={"room": "cellar"})
    (container,) = spec["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi", MIG: 2, "ephemeral-storage": "131072Mi"}
    assert container["resources"]["requests"][MIG] == 2
    assert GPU not in container["resources"]["limits"]
    assert spec["nodeSelector"] == {"room": "cellar"}, "both must hold"
    assert read_demand(spec) == Demand(MIG, 2, 11445 * 1024**2, (8, 6))
    assert "affinity" not in trained(resources={"gpu": 1})
    preflight = build_preflight_job(custom(resources=resources), SETTINGS)["spec"]["template"]["spec"]
    assert "affinity" not in preflight
    assert read_demand(preflight) is None


def test_several_gpus_talk_over_shared_memory() -> None:
    assert any(
        mount["mountPath"] == "/dev/shm" for mount in trained(resources={"gpu": 2})["containers"][0]["volumeMounts"]
    )
    assert all(volume["name"] != "shm" for volume in trained(resources={"gpu": 1})["volumes"])


@pytest.mark.parametrize(
    ("spec", "setting", "found", "expected"),
    [
        ({"resources": {"gpu": 1}}, "", "nvidia", "nvidia"),
        ({"resources": {"gpu": 1}}, "", "", None),
        ({"resources": {"gpu": 1}}, "own", "nvidia", "own"),
        ({"resources": {"gpu": 1}, "runtimeClassName": "mine"}, "own", "nvidia", "mine"),
        ({}, "own", "nvidia", None),
    ],
)
def test_runtime_class(spec: Object, setting: str, found: str, expected: str | None) -> None:
    settings = Settings(runtime_class=setting)
    job = build_train_job(custom(**spec), settings, None, Hardware((), found))
    assert job["spec"]["template"]["spec"].get("runtimeClassName") == expected


def estimate(total: float, available: float | None) -> PreflightStatus:
    """In GiB."""
    parts = dict.fromkeys(("weights", "adapter", "gradients", "optimizer", "activations", "overhead"), 0)
    memory = parts | {"total": int(total * GIB)} | ({"available": int(available * GIB)} if available else {})
    return preflight_status(from_json(PreflightSummary, json.loads(preflight_summary(memory=memory))))


OLD, NEW, BLIND = gpu_node("old", 4096), gpu_node("new", 12288), gpu_node("blind")


@pytest.mark.parametrize(
    ("total", "available", "nodes", "asked", "expected"),
    [
        (7.2, 12, (OLD, NEW), None, int(7.2 * GIB)),
        (7.2, 12, (OLD, NEW), "6Gi", int(7.2 * GIB)),
        (3.2, 4, (OLD, NEW), None, int(3.2 * GIB)),
        # It goes down to what the larger card has, or is trained although it does not fit.
        (14.0, 12, (OLD, NEW), None, 12 * GIB),
        # Nobody knows which node has what the verdict is about.
        (7.2, 12, (BLIND,), None, None),
        (7.2, 12, (OLD,), None, None),
        (7.2, 12, None, None, None),
        (7.2, None, (NEW,), None, None),
    ],
)
def test_too_small_for_the_estimate(
    total: float, available: float | None, nodes: Any, asked: str | None, expected: int | None
) -> None:
    job = custom(resources={"gpu": 1, **({"gpuMemory": asked} if asked else {})})
    figures, hardware = estimate(total, available), Hardware(nodes)
    assert needed_memory(job, SETTINGS, figures, hardware) == expected
    demand = read_demand(build_train_job(job, SETTINGS, figures, hardware)["spec"]["template"]["spec"])
    assert demand is not None
    least = expected or (6 * GIB if asked else None)
    assert demand.memory_bytes == (None if least is None else -(-least // mib(1)) * mib(1))


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        ({"gpu": 1}, (OLD, NEW, BLIND), [4, 12]),
        ({"gpu": 1, "gpuMemory": "6Gi"}, (OLD, NEW, BLIND), [12]),
        ({"gpu": 1, "computeCapability": "8.6"}, (OLD, gpu_node("ampere", 8192, CAPABILITY_8_6)), [8]),
        ({"gpu": 1, "gpuMemory": "24Gi"}, (OLD, NEW), [24]),
        ({"gpu": 1, "gpuMemory": "24Gi"}, None, [24]),
        ({"gpu": 1}, None, []),
        ({"gpu": 0}, (OLD, NEW), []),
    ],
)
def test_gpus_the_preflight_reckons_with(resources: Object, nodes: Any, expected: list[int]) -> None:
    found = candidates(custom(resources=resources), SETTINGS, Hardware(nodes))
    assert [one.memory_bytes // GIB for one in found] == expected
    if expected == [24]:
        assert found[0].name == STATED


def test_a_mig_slice_has_labels_of_its_own() -> None:
    labels = {f"{MIG}.memory": "9856", f"{MIG}.product": "A100-MIG-1g.10gb"}
    (node,) = gpu_nodes([gpu_node("a100", 81920, (8, 0), resource=MIG, count=7, labels=labels)], MIG)
    assert (node.memory_bytes, node.product, node.compute_capability) == (mib(9856), "A100-MIG-1g.10gb", "8.0")


@pytest.mark.parametrize(
    ("spec", "nodes", "reason", "words"),
    [
        (pod_spec(), (), "NoNodeWithGPU", [f"No node offers {GPU}", "device plugin", "spec.resources.gpu to 0"]),
        (pod_spec(), (gpu_node("pc", count=0),), "NoNodeWithGPU", ["pc had it", "driver"]),
        (
            pod_spec(),
            (gpu_node("pc", resource=SHARED),),
            "NoNodeWithGPU",
            [f"pc offers {SHARED}", "spec.resources.gpuResourceName"],
        ),
        (pod_spec(resource=MIG), (gpu_node("pc"),), "NoNodeWithGPU", [f"No node offers {MIG}", f"pc offers {GPU}"]),
        (pod_spec(memory=12), (OLD,), "NoSuitableNode", [f"1 {GPU} of at least 12 GiB", "old has 4 GiB"]),
        (
            pod_spec(memory=24),
            (gpu_node("ada", 24564),),
            "NoSuitableNode",
            ["of at least 24 GiB", "ada has 24564 MiB", "24564Mi would do"],
        ),
        (
            pod_spec(memory=12),
            (BLIND,),
            "NoSuitableNode",
            [f"blind has no label {MEMORY}", "GPU feature discovery", f"kubectl label node blind {MEMORY}=<MiB"],
        ),
        (
            pod_spec(capability=(8, 6)),
            (gpu_node("pascal", 8192, (6, 1)),),
            "NoSuitableNode",
            ["compute capability 8.6", "pascal has capability 6.1"],
        ),
        (
            pod_spec(capability=(8, 6)),
            (BLIND,),
            "NoSuitableNode",
            ["has no labels", f"kubectl label node blind {MAJOR}=8 {MINOR}=6"],
        ),
        (
            pod_spec(count=4),
            (gpu_node("a", count=2), gpu_node("b", count=2)),
            "NoSuitableNode",
            [f"4 {GPU}", "a has 2", "b has 2", "all of one node"],
        ),
        (
            pod_spec(nodeSelector={"room": "cellar"}),
            (OLD,),
            "NoSuitableNode",
            ["old is not room=cellar (spec.nodeSelector)"],
        ),
        (
            pod_spec(),
            (gpu_node("pc", taints=[{"key": "gaming", "effect": "NoSchedule"}]),),
            "NoSuitableNode",
            ["pc has the taint gaming, which spec.tolerations does not name"],
        ),
        (
            pod_spec(count=2, memory=12),
            (OLD, gpu_node("big", 24576)),
            "NoSuitableNode",
            ["at least 12 GiB each", "old has 1, and", "has 4 GiB", "big has 1, and"],
        ),
    ],
)
def test_no_node_can_ever(spec: Object, nodes: tuple[Object, ...], reason: str, words: list[str]) -> None:
    fact = misfit(spec, *nodes)
    assert fact.reason == reason
    for word in words:
        assert word in fact.message


def test_a_large_cluster_is_not_told_in_full() -> None:
    fact = misfit(pod_spec(memory=12), *(gpu_node(f"node-{index}", 4096) for index in range(40)))
    assert "node-4 has" in fact.message
    assert "node-5 has" not in fact.message
    assert "35 more nodes are no better" in fact.message


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        (pod_spec(memory=12, capability=(8, 6)), gpu_node("pc", 12288, (8, 6))),
        (pod_spec(memory=12, capability=(8, 6)), gpu_node("pc", 12288, (9, 0))),
        (pod_spec(memory=12, capability=(8, 0)), gpu_node("pc", 12288, (8, 0))),
        (pod_spec(), gpu_node("pc", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])),
        (pod_spec(), gpu_node("pc", taints=[{"key": "soft", "effect": "PreferNoSchedule"}])),
        (
            pod_spec(tolerations=[{"key": "gpu", "operator": "Equal", "value": "only"}]),
            gpu_node("pc", taints=[{"key": "gpu", "value": "only", "effect": "NoSchedule"}]),
        ),
        (
            pod_spec(tolerations=[{"operator": "Exists"}]),
            gpu_node("pc", taints=[{"key": "gpu", "effect": "NoExecute"}]),
        ),
    ],
)
def test_one_that_could_is_enough(spec: Object, node: Object) -> None:
    assert explain_misfit(spec, [OLD, node]) is None


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "gpu", "value": "other"},
        {"key": "other", "operator": "Exists"},
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute"},
    ],
)
def test_a_toleration_of_something_else_does_not_help(toleration: Object) -> None:
    node = gpu_node("pc", taints=[{"key": "gpu", "value": "only", "effect": "NoSchedule"}])
    assert misfit(pod_spec(tolerations=[toleration]), node).reason == "NoSuitableNode"


def holder(name: str, node: str, kind: str = "finetunejob", count: int = 1, phase: str = "Running") -> Object:
    labels = {"app.kubernetes.io/managed-by": "kubetune", f"kubetune.io/{kind}": name}
    metadata = {"name": f"{name}-x", "namespace": "team", "labels": labels}
    return {"metadata": metadata, "spec": pod_spec(count) | {"nodeName": node}, "status": {"phase": phase}}


def test_taken_names_who_holds_them() -> None:
    nodes = [gpu_node("a", count=2), gpu_node("b", count=3), gpu_node("c"), gpu_node("d", ready=False), OLD]
    nodes[2]["spec"]["unschedulable"] = True
    pods = [
        holder("first", "a"),
        holder("second", "a"),
        holder("bot", "b", "modeldeployment"),
        holder("done", "b", phase="Succeeded"),
        {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{}], "nodeName": "a"}},
    ]
    fact = explain_taken(pod_spec(nodeSelector={}), [*nodes[:4]], pods)
    assert fact is not None
    assert fact.reason == "Unschedulable"
    assert "a has 2, held by FineTuneJob team/first (1), FineTuneJob team/second (1);" in fact.message
    assert "b has 3, held by ModelDeployment team/bot (1), others or nobody (2);" in fact.message
    assert "c is cordoned (kubectl uncordon c); d is not ready" in fact.message
    assert "It starts by itself." in fact.message


def asking(gpus: int = 0, **requests: str) -> Object:
    """A pod that asks for so much CPU and main memory."""
    limits = {GPU: gpus} if gpus else {}
    return {"containers": [{"name": "train", "resources": {"requests": {**requests, **limits}, "limits": limits}}]}


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ({"memory": "64Gi"}, "pc has 32 GiB of main memory for pods, and spec.resources.memory asks for 64Gi"),
        ({"cpu": "8500m"}, "pc has 8 CPUs for pods, and spec.resources.cpu asks for 8.5"),
        (
            {"ephemeral-storage": "501Gi"},
            "pc has 500 GiB of disk for pods, and the pod asks for 501 GiB of scratch space (spec.resources.scratch)",
        ),
        ({"memory": "32Gi", "cpu": "8", "ephemeral-storage": "500Gi"}, None),
        ({}, None),
    ],
)
def test_main_memory_and_cpu(gpus: int, requests: dict[str, str], words: str | None) -> None:
    spec = asking(gpus, **requests)
    if words is None:
        assert explain_misfit(spec, [gpu_node("pc")]) is None
        return
    fact = misfit(spec, gpu_node("pc"))
    assert fact.reason == "NoSuitableNode"
    assert words in fact.message
    assert fact.message.startswith(f"No node can take {f'1 {GPU}' if gpus else 'the pod'}: ")
    assert (
        explain_misfit(
            spec, [gpu_node("pc"), gpu_node("big", main_memory="65Gi") | {"status": {"allocatable": {GPU: "1"}}}]
        )
        is None
    ), "what a node does not say is not held against it"


def test_where_a_pod_without_a_gpu_may_go() -> None:
    spec = asking() | {"nodeSelector": {"room": "cellar"}}
    assert "pc is not room=cellar (spec.nodeSelector)" in misfit(spec, gpu_node("pc", count=0)).message
    assert explain_misfit(spec, [gpu_node("pc", count=0, labels={"room": "cellar"})]) is None
    assert explain_taken(spec, [], []) is None
    assert explain_misfit(asking(), []) is expect_placement(asking(), Hardware(())) is None


def test_what_cannot_be_read_is_not_judged() -> None:
    assert expect_placement(pod_spec(), Hardware()) is None
    tainted = gpu_node("pc", taints=[{"key": GPU, "effect": "NoSchedule"}])
    assert expect_placement(pod_spec(), Hardware((tainted,))) is None, "admission may yet add the toleration"


def test_told_as_soon_as_the_job_is_made() -> None:
    job = custom(resources={"gpu": 1}, preflight={"fit": "Skip"})
    decision = judge(job, Observed(hardware=Hardware(())))
    assert decision.create
    assert condition(decision, "Scheduled")["reason"] == "NoNodeWithGPU"
    assert decision.requeue_after, "nodes are not watched"
    (event,) = decision.events
    assert (event.reason, event.warning) == ("NoNodeWithGPU", True)
    suspended = judge(custom(resources={"gpu": 1}, suspend=True), Observed(hardware=Hardware(())))
    assert condition(suspended, "Scheduled")["reason"] != "NoNodeWithGPU"


def test_told_also_while_the_pod_is_being_made() -> None:
    misfit = Fact(ConditionStatus.FALSE, "NoNodeWithGPU", "No node offers any.")
    assert read_run(JobObservation(observed_job(), placement=misfit), main="train").scheduled == misfit
    assert read_run(JobObservation(observed_job()), main="train").scheduled.reason == "Waiting"


def test_where_it_landed_and_why_there() -> None:
    alive = observed_pod(node="new", started=True, containers={"train": {"running": {}}})
    alive["spec"] |= pod_spec(memory=12)
    run = read_run(JobObservation(observed_job(), (alive,)), main="train")
    assert run.scheduled.message == f"On node new, one with 1 {GPU} of at least 12 GiB."
    alive["spec"] = pod_spec() | {"nodeName": "new"}
    assert read_run(JobObservation(observed_job(), (alive,)), main="train").scheduled.message == "On node new."


def test_evaluations_ask_the_same_way() -> None:
    raw = {"metadata": {"name": "e"}, "spec": {**EVALUATION, "candidate": {"uri": "s3://m/x"}}}
    raw["spec"] |= {"resources": {"gpu": 1, "gpuMemory": "12Gi"}}
    asked = Evaluation.parse(raw).spec.resources
    demand = demand_of(asked, SETTINGS)
    assert demand is not None
    assert describe(demand) == f"1 {GPU} of at least 12 GiB"


@pytest.mark.parametrize(("count", "text"), [(12 * GIB, "12 GiB"), (mib(24564), "24564 MiB"), (1, "1 MiB")])
def test_sizes_that_differ_read_differently(count: int, text: str) -> None:
    assert format_memory(count) == text


@pytest.mark.parametrize(
    ("named", "default", "whose"),
    [
        (None, SHARED, f"{SHARED} (the operator's default)"),
        (MIG, GPU, f"{MIG} (spec.resources.gpuResourceName)"),
        (SHARED, SHARED, f"{SHARED} (spec.resources.gpuResourceName)"),
        (GPU, SHARED, None),
        (None, GPU, None),
    ],
)
def test_shares_that_cannot_work_together_are_told_by_who_named_them(
    named: str | None, default: str, whose: str | None
) -> None:
    asked, defaults = Resources(gpu=2, gpu_resource_name=named), Settings(gpu_resource=default)
    problem = check_shares(asked, defaults)
    assert (problem is None) == (whose is None)
    assert problem is None or f"but {whose} counts slices" in problem.message
    assert check_shares(asked.model_copy(update={"gpu": 1}), defaults) is None
