"""What the training processes of one run decide together; with one process, nothing to do. Imports torch."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def several() -> bool:
    """True when this process is one of a group."""
    return bool(distributed.is_available() and distributed.is_initialized())


def agreed(flags: tuple[bool, ...], device: Any) -> tuple[bool, ...]:
    """Each flag is true for all when it is true for one: clocks and signals differ between processes."""
    if not several():
        return flags
    votes = torch.tensor([int(flag) for flag in flags], device=device)
    distributed.all_reduce(votes, op=distributed.ReduceOp.MAX)
    return tuple(bool(vote) for vote in votes.tolist())


def from_first(value: T) -> T:
    """The first process's ``value``, for all."""
    if not several():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def together() -> None:
    """Waits until all have come here."""
    if several():
        distributed.barrier()
