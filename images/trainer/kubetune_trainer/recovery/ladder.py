"""The ladder a run goes down when memory does not suffice, one rung at a time. Pure.

Every rung needs less memory per step than the one before and keeps the effective batch (rows per optimizer step and
process) exactly as it was asked for: a smaller micro-batch with more accumulation, then gradient checkpointing, then
an optimizer with 8-bit state (Dettmers et al. 2021, arXiv 2110.02861).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kubetune_contract import Hyperparameters, RecoveryStep

OUT_OF_MEMORY = "OutOfMemory"
DIVERGENCE = "Divergence"
"""Kinds of a RecoveryStep."""
FULL_STATE = frozenset({"adamw_torch", "adamw_torch_fused", "paged_adamw_32bit"})
"""Optimizers whose state is as wide as the weights they train, which the last rung replaces."""


class Action(enum.StrEnum):
    """What one step of a recovery changed."""

    HALVE_BATCH = "halveBatch"
    GRADIENT_CHECKPOINTING = "gradientCheckpointing"
    OPTIMIZER_8BIT = "optimizer8bit"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters a recovery may change, in effect at some moment."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    optimizer: str
    learning_rate: float

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step and process."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True)
class Rung:
    """What to change, and the settings that result."""

    action: Action
    settings: Settings


_NAMES = tuple(field.name for field in dataclasses.fields(Settings))


def settings_of(source: Hyperparameters | RecoveryStep) -> Settings:
    """The settings that a configuration asks for, or that a recovery went on with."""
    return Settings(**{name: getattr(source, name) for name in _NAMES})


def effective(hyper: Hyperparameters, recovery: Sequence[RecoveryStep]) -> Hyperparameters:
    """``hyper`` as the run goes on with it: the last recovery's settings hold."""
    if not recovery:
        return hyper
    return dataclasses.replace(hyper, **dataclasses.asdict(settings_of(recovery[-1])))


def next_rung(now: Settings, device: Literal["cuda", "cpu"]) -> Rung | None:
    """The rung below ``now``; None when there is nothing left to lower."""
    if now.per_device_train_batch_size > 1:
        micro = smaller_micro_batch(now.per_device_train_batch_size, now.effective_batch)
        lowered = dataclasses.replace(
            now, per_device_train_batch_size=micro, gradient_accumulation_steps=now.effective_batch // micro
        )
        return Rung(Action.HALVE_BATCH, lowered)
    if not now.gradient_checkpointing:
        return Rung(Action.GRADIENT_CHECKPOINTING, dataclasses.replace(now, gradient_checkpointing=True))
    if now.optimizer in FULL_STATE:
        # Paging needs CUDA's unified memory.
        small = "paged_adamw_8bit" if device == "cuda" else "adamw_8bit"
        return Rung(Action.OPTIMIZER_8BIT, dataclasses.replace(now, optimizer=small))
    return None


def rungs_below(now: Settings, device: Literal["cuda", "cpu"]) -> Iterator[Rung]:
    """Every rung from the next one to the last."""
    while rung := next_rung(now, device):
        yield rung
        now = rung.settings


def smaller_micro_batch(micro: int, batch: int) -> int:
    """The largest micro-batch of at most half of ``micro`` that divides ``batch``: 8 -> 4, 3 -> 1, 7 of 21 -> 3."""
    return next(size for size in range(micro // 2, 0, -1) if batch % size == 0)


def described(rung: Rung) -> str:
    """What ``rung`` changed, for a sentence."""
    after = rung.settings
    match rung.action:
        case Action.HALVE_BATCH:
            return (
                f"perDeviceTrainBatchSize {after.per_device_train_batch_size} with gradientAccumulationSteps "
                f"{after.gradient_accumulation_steps}; the effective batch stays {after.effective_batch}"
            )
        case Action.GRADIENT_CHECKPOINTING:
            return "gradientCheckpointing: true, which computes part of every step twice"
        case Action.OPTIMIZER_8BIT:
            return f"optimizer {after.optimizer}, whose state takes a quarter of the memory and starts anew"
        case Action.ROLLBACK:
            return f"learningRate {after.learning_rate:g}"


def taken(rung: Rung, kind: str, message: str, at: float, step: int) -> RecoveryStep:
    """``rung`` as it is recorded, with what was the matter."""
    return RecoveryStep(
        kind=kind, action=str(rung.action), message=message, at=at, step=step, **dataclasses.asdict(rung.settings)
    )
