"""On which GPUs a training may land, as its spec, its preflight and the nodes' labels say."""

from __future__ import annotations

from kubetune.common.quantity import parse_quantity
from kubetune.finetunejob.api import FineTuneJob, PreflightStatus
from kubetune.settings import Settings
from kubetune.workload.gpu import Hardware, capable, demand_of, gpu_resource, has_memory
from kubetune.workload.nodes import GpuNode, accelerators, gpu_nodes, selected
from kubetune_contract.train import Accelerator

STATED = "GPU of the stated gpuMemory"
"""In place of a name, where no node says what GPUs there are."""


def candidates(job: FineTuneJob, settings: Settings, hardware: Hardware) -> tuple[Accelerator, ...]:
    """One for each kind of GPU the spec allows. Where no node is known to have one, what the spec says has to do."""
    asked = job.spec.resources
    demand = demand_of(asked, settings)
    if demand is None:
        return ()
    found = accelerators(capable(_places(job, settings, hardware), demand), settings.gpu_classes)
    if found or asked.gpu_memory is None:
        return found
    return (Accelerator(STATED, int(parse_quantity(asked.gpu_memory)), asked.compute_capability),)


def needed_memory(
    job: FineTuneJob, settings: Settings, figures: PreflightStatus | None, hardware: Hardware
) -> int | None:
    """Bytes that each GPU must have because the preflight says so; None when nodes' labels do not tell which have them.

    A run that fits no GPU (it is to be trained all the same, or lowers its own needs) is kept on the largest, which
    the verdict is about.
    """
    estimate = figures.memory if figures and job.spec.resources.gpu else None
    if estimate is None or not estimate.available:
        return None
    least = min(estimate.total, estimate.available)
    demand = demand_of(job.spec.resources, settings, least)
    if demand is None or not any(has_memory(node, demand) for node in _places(job, settings, hardware)):
        return None
    return least


def _places(job: FineTuneJob, settings: Settings, hardware: Hardware) -> tuple[GpuNode, ...]:
    offering = gpu_nodes(hardware.nodes or (), gpu_resource(job.spec.resources, settings))
    return selected(offering, job.spec.node_selector)
