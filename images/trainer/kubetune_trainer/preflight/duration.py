"""Hours, money and energy of a run, each with an interval. Pure.

A token costs 2 operations per weight and pass: forward, the gradient of the activations, the forward again where
activations are not kept, and the gradient of the weights where those are trained; and attention to half of its
sequence. A micro-batch takes that over the speed the card reaches, and the time it takes to launch its kernels, which
is what bounds small models and short sequences. Both are intervals: SLOW to FAST hold all published speeds that
``tests/unit/trainer/published.py`` lists with their sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubetune_contract import Method, Range

from .estimate import Recipe, trained_parameters
from .shapes import ModelShape

DEQUANTISE = 1.1
"""Longer per pass when weights must be unpacked from 4 bits first."""


@dataclass(frozen=True)
class Speed:
    """How well hardware is used."""

    utilization: float
    """Share of the data sheet's operations per second."""
    launch: float
    """Seconds per layer, pass and micro-batch before anything is computed."""


@dataclass(frozen=True)
class Interval:
    """From the slowest to the fastest."""

    slow: Speed
    middle: Speed
    fast: Speed


GPU = Interval(Speed(0.18, 0.005), Speed(0.42, 0.0015), Speed(0.92, 0.0))
CPU = Interval(Speed(0.1, 0.01), Speed(0.4, 0.002), Speed(0.9, 0.0002))
"""Of the speed of a 32-bit matrix product, as measured by preflight."""


@dataclass(frozen=True)
class Work:
    """What one process computes."""

    micro_batches: int
    tokens: int
    """With padding."""

    @property
    def tokens_per_batch(self) -> float:
        """On the average."""
        return self.tokens / max(1, self.micro_batches)


def passes(run: Recipe) -> int:
    """How often each weight is multiplied with a token."""
    return 2 + run.checkpointing + (run.method is Method.FULL)


def operations_per_token(shape: ModelShape, run: Recipe, length: float) -> float:
    """Floating-point operations; ``length`` is that of the sequence."""
    attention = 2 * length * shape.hidden * shape.layers
    # Attention has no weights, but both of its factors have gradients.
    kept = attention * (3 + run.checkpointing)
    adapter = 0 if run.method is Method.FULL else trained_parameters(shape, run.method, run.lora)
    unpacking = DEQUANTISE if run.method is Method.QLORA else 1.0
    return 2 * shape.multiplied * passes(run) * unpacking + kept + 6 * adapter


def seconds(shape: ModelShape, run: Recipe, work: Work, interval: Interval, tflops: float) -> Range:
    """From first to last micro-batch on hardware of ``tflops`` dense 16-bit tera-operations per second."""
    operations = operations_per_token(shape, run, work.tokens_per_batch / run.batch) * work.tokens

    def taken(speed: Speed) -> float:
        launching = speed.launch * shape.layers * passes(run) * work.micro_batches
        return launching + operations / (tflops * 1e12 * speed.utilization)

    return Range(taken(interval.fast), taken(interval.middle), taken(interval.slow))


def tokens_per_second(shape: ModelShape, run: Recipe, interval: Interval, tflops: float) -> Range:
    """At full micro-batches of the longest sequences."""
    taken = seconds(shape, run, Work(1, run.tokens), interval, tflops)
    return Range(run.tokens / taken.high, run.tokens / taken.estimate, run.tokens / taken.low)


def mapped(over: Range, convert: Callable[[float], float]) -> Range:
    """Each end converted by the same increasing function."""
    return Range(convert(over.low), convert(over.estimate), convert(over.high))


def energy(over: Range, watts: float, gpus: int) -> Range:
    """kWh of ``over`` seconds at ``watts`` per GPU."""
    return mapped(over, lambda taken: taken / 3600 * watts * max(1, gpus) / 1000)


def price(over: Range, per_hour: float, gpus: int) -> Range:
    """Of ``over`` seconds at ``per_hour`` for each GPU."""
    return mapped(over, lambda taken: taken / 3600 * per_hour * max(1, gpus))
