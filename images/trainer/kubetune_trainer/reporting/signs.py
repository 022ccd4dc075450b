"""What a user could do better, told from the numbers a running training logs. Pure.

Each sign needs enough evidence to be worth an interruption: a wrong hint costs more trust than a missing one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kubetune_contract import Suggestion

FLAT_POINTS = 16
"""Logged losses below which nothing is said about their trend."""
FLAT_SHARE = 0.03
"""A loss is flat when it has certainly fallen by less than this share of where it began."""
LEARNED = 0.05
"""A loss below this has nowhere left to fall."""
RISE = 0.02
"""Share by which validation loss must be above its lowest."""
SLOW_STEPS = 20
SLOW_SHARE = 0.2
SLOW_SECONDS = 10.0
NEAR_LIMIT = 0.95
ROSE_SHARE = 0.25
"""A loss that ends this much above where it began has risen."""
ROSE_POINTS = 3
"""Values per end below which nothing is said of that: single batches differ by more."""

Curve = Sequence[tuple[int, float]]
"""Steps and values, in order."""


class Signs:
    """Gathers one attempt's numbers; every method answers what they newly tell, if anything."""

    def __init__(self) -> None:
        self._losses: list[tuple[int, float]] = []
        self._eval_losses: list[tuple[int, float]] = []
        self._waits: list[float] = []
        self._steps: list[float] = []

    def logged(self, step: int, total: int, values: Mapping[str, Any]) -> Suggestion | None:
        """What the training loop logged at ``step`` of ``total``."""
        for name, curve in (("loss", self._losses), ("eval_loss", self._eval_losses)):
            value = values.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                curve.append((step, float(value)))
        if "eval_loss" in values:
            return overfitting(self._losses, self._eval_losses)
        return flat_loss(self._losses) if step * 3 >= total else None

    def stepped(self, waited: float, seconds: float) -> Suggestion | None:
        """One step took ``seconds``, of which ``waited`` passed before its data were there."""
        self._waits.append(waited)
        self._steps.append(seconds)
        return slow_input(self._waits, self._steps)


def flat_loss(losses: Curve) -> Suggestion | None:
    """FlatLoss when the last quarter of the losses lies no lower than the first, beyond doubt."""
    if len(losses) < FLAT_POINTS:
        return None
    part = len(losses) // 4
    first, last = [[value for _, value in chosen] for chosen in (losses[:part], losses[-part:])]
    start, end = statistics.fmean(first), statistics.fmean(last)
    error = math.sqrt((statistics.variance(first) + statistics.variance(last)) / part)
    # One that has risen wants the opposite of what a flat one does: see loss_rose.
    if end < LEARNED or end >= start * (1 + ROSE_SHARE) or start - end + 2 * error >= FLAT_SHARE * start:
        return None
    return Suggestion(
        "FlatLoss",
        f"the training loss stays at {end:.3g} (it began at {start:.3g}; {len(losses)} values up to step "
        f"{losses[-1][0]}): raise learningRate, or look whether the data can teach anything new",
    )


def loss_rose(losses: Sequence[float], learning_rate: float) -> Suggestion | None:
    """LossRose when the training ended clearly worse than it began; ``losses`` are all that were logged."""
    if len(losses) < 2 * ROSE_POINTS:
        return None
    part = max(ROSE_POINTS, len(losses) // 4)
    start, end = statistics.fmean(losses[:part]), statistics.fmean(losses[-part:])
    if start <= 0 or end < start * (1 + ROSE_SHARE) or end < LEARNED:
        return None
    return Suggestion(
        "LossRose",
        f"the training loss rose from {start:.3g} to {end:.3g}: the result is most likely worse than the base model. "
        f"Lower learningRate (now {learning_rate:g}) to a tenth, and compare with an Evaluation before you serve it",
    )


def overfitting(losses: Curve, eval_losses: Curve) -> Suggestion | None:
    """Overfitting when validation loss has risen twice from its lowest while training loss went on falling."""
    if len(eval_losses) < 3:
        return None
    best = min(range(len(eval_losses)), key=lambda number: eval_losses[number][1])
    best_step, lowest = eval_losses[best]
    step, last = eval_losses[-1]
    before = [value for at, value in losses if at <= best_step]
    after = [value for at, value in losses if at > best_step]
    if len(eval_losses) - best < 3 or last < lowest * (1 + RISE) or not before or not after:
        return None
    if statistics.fmean(after) >= statistics.fmean(before[-len(after) :]):
        return None
    return Suggestion(
        "Overfitting",
        f"the validation loss rose from {lowest:.4g} at step {best_step} to {last:.4g} at step {step} while the "
        "training loss fell: train for fewer epochs, set loadBestModelAtEnd and earlyStoppingPatience, or add data",
    )


def slow_input(waits: Sequence[float], steps: Sequence[float]) -> Suggestion | None:
    """SlowInput when a good part of the time goes into waiting for data; both are seconds per step."""
    waited, total = sum(waits), sum(steps)
    if len(steps) < SLOW_STEPS or waited < SLOW_SECONDS or waited < SLOW_SHARE * total:
        return None
    return Suggestion(
        "SlowInput",
        f"{waited / total:.0%} of the time passes in waiting for data ({waited:.0f} s in {len(steps)} steps): give the "
        "pod more CPU, or raise perDeviceTrainBatchSize",
    )


def memory_near_limit(peak: int | None, total: int | None) -> Suggestion | None:
    """MemoryNearLimit when the peak leaves hardly any GPU memory; both are bytes, None without a GPU."""
    if not peak or not total or peak < NEAR_LIMIT * total:
        return None
    return Suggestion(
        "MemoryNearLimit",
        f"the peak of GPU memory, {peak / 2**30:.1f} GiB, is {peak / total:.0%} of what there is: a longer row may not "
        "fit. Set gradientCheckpointing, or halve perDeviceTrainBatchSize and double gradientAccumulationSteps",
    )
