"""Seconds, money and kWh of a configuration, on the hardware it may land on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kubetune_contract import Accelerator, Placement, Range, TrainConfig

from .cards import card
from .duration import CPU, GPU, Interval, Speed, Work, energy, passes, price, seconds
from .estimate import Recipe
from .profile import Plan, padded
from .shapes import ModelShape

STARTUP = Range(8, 20, 90)
"""Seconds for imports, tokenising and the probe."""
READ = Range(2e9, 5e8, 1e8)
"""Bytes per second from disk into memory."""
FETCH = Range(1e9, 1e8, 2e7)
"""Bytes per second from the store or a hub."""


@dataclass(frozen=True)
class Costs:
    """None where too little is known."""

    seconds: Range | None = None
    cost: Range | None = None
    kwh: Range | None = None


@dataclass(frozen=True)
class Cpu:
    """What trains when no GPU does."""

    core_tflops: float
    cores: int
    """Of this container; the training's own number is not known here."""
    node_cores: int


@dataclass(frozen=True)
class Task:
    """What takes time."""

    shape: ModelShape
    run: Recipe
    work: Work
    startup: Range
    """Seconds before the first step."""


def work(plan: Plan, validation: list[int], config: TrainConfig, run: Recipe) -> Work:
    """Training, and evaluation as the share of it that a forward pass is."""
    hyper = config.hyperparameters
    if not validation:
        return Work(plan.micro_batches, plan.tokens)
    times = 1 + (plan.steps // hyper.eval_steps if hyper.eval_steps else 0)
    batches = -(-len(validation) // run.batch) * times / passes(run)
    tokens = batches * padded(validation, run.batch)
    return Work(plan.micro_batches + round(batches), plan.tokens + round(tokens))


def startup(weight_bytes: int, download_bytes: int) -> Range:
    """Seconds from the pod's start to the first step."""

    def taken(base: float, read: float, fetch: float) -> float:
        return base + weight_bytes / read + download_bytes / fetch

    return Range(
        taken(STARTUP.low, READ.low, FETCH.low),
        taken(STARTUP.estimate, READ.estimate, FETCH.estimate),
        taken(STARTUP.high, READ.high, FETCH.high),
    )


def on_gpus(task: Task, config: TrainConfig, accelerators: Iterable[Accelerator]) -> Costs:
    """Over all accelerators the run may land on; the central estimate is that of the one with the least memory."""
    known = sorted(accelerators, key=lambda accelerator: accelerator.memory_bytes)
    each = [_on_gpu(task, accelerator, config) for accelerator in known]
    return Costs(_union(one.seconds for one in each), _union(one.cost for one in each), _union(one.kwh for one in each))


def _on_gpu(task: Task, accelerator: Accelerator, config: TrainConfig) -> Costs:
    listed = card(accelerator.name)
    tflops = accelerator.tflops or (listed.tflops if listed else None)
    watts = accelerator.watts or (listed.watts if listed else None)
    if not tflops:
        return Costs()
    taken = _sum(task.startup, seconds(task.shape, task.run, task.work, GPU, tflops))
    kwh = energy(taken, watts, config.gpus) if watts else None
    if accelerator.price_per_hour is not None:
        return Costs(taken, price(taken, accelerator.price_per_hour, config.gpus), kwh)
    return Costs(taken, _electricity(kwh, config.placement), kwh)


def on_cpu(task: Task, config: TrainConfig, cpu: Cpu) -> Costs:
    """From one core used badly to all of the node's used well."""

    def taken(speed: Speed, cores: int) -> float:
        interval = Interval(speed, speed, speed)
        return seconds(task.shape, task.run, task.work, interval, cpu.core_tflops * cores).estimate

    fast, middle, slow = taken(CPU.fast, cpu.node_cores), taken(CPU.middle, cpu.cores), taken(CPU.slow, 1)
    total = _sum(task.startup, Range(fast, middle, slow))
    kwh = energy(total, config.placement.cpu_watts, 1) if config.placement.cpu_watts else None
    return Costs(total, _electricity(kwh, config.placement), kwh)


def _electricity(kwh: Range | None, placement: Placement) -> Range | None:
    tariff = placement.electricity_per_kwh
    if kwh is None or tariff is None:
        return None
    return Range(kwh.low * tariff, kwh.estimate * tariff, kwh.high * tariff)


def _sum(one: Range, other: Range) -> Range:
    return Range(one.low + other.low, one.estimate + other.estimate, one.high + other.high)


def _union(ranges: Iterable[Range | None]) -> Range | None:
    """None as soon as one is not known: an interval that leaves a card out would be wrong."""
    found = list(ranges)
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return None
    return Range(min(one.low for one in known), known[0].estimate, max(one.high for one in known))
