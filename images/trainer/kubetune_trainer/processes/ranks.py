"""What the training processes of one run decide together; with one process, nothing to do. Imports torch."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate.utils import check_cuda_p2p_ib_support
from torch import distributed

from .launch import RENDEZVOUS
from .place import Place

TIMEOUT_SECONDS = 1800.0
"""How long a process waits for the others, the first of which may wait for the store (KUBETUNE_RANKS_TIMEOUT)."""

T = TypeVar("T")


class Left(Exception):  # noqa: N818 (no error, but the way out)
    """The training ended as all processes agreed, and the first of them tells how."""


def join(device: str) -> None:
    """Meets the run's other processes, which train on ``cuda`` or ``cpu`` as this one does."""
    place = Place.here()
    if not place.several:
        return
    timeout = timedelta(seconds=float(os.environ.get("KUBETUNE_RANKS_TIMEOUT", TIMEOUT_SECONDS)))
    if device == "cuda":
        torch.cuda.set_device(place.rank)
        if not check_cuda_p2p_ib_support():
            # Such cards claim what they cannot do; accelerate refuses to go on unless this is set.
            os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    distributed.init_process_group(
        # The objects they exchange, and FSDP's full state, do not belong on a GPU.
        "cuda:nccl,cpu:gloo" if device == "cuda" else "gloo",
        store=_store(place, timeout),
        rank=place.rank,
        world_size=place.world,
        timeout=timeout,
    )


def _store(place: Place, timeout: timedelta) -> distributed.Store:
    listening = os.environ.get(RENDEZVOUS)
    return distributed.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        place.world,
        is_master=place.first,
        timeout=timeout,
        wait_for_workers=False,
        master_listen_fd=int(listening) if listening else None,
    )


def ended(reason: BaseException) -> BaseException:
    """How this process ends when all have agreed to: the first one for ``reason``, the others silently."""
    return reason if Place.here().first else Left()


def local(tensor: Any) -> Any:
    """This process's part of a tensor that may be sharded."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def several() -> bool:
    """True when this process is one of a group."""
    return bool(distributed.is_available() and distributed.is_initialized())


def agreed(*flags: bool) -> tuple[bool, ...]:
    """Each flag is true for all when it is true for one: clocks and signals differ between processes."""
    if not several():
        return flags
    # In main memory: after every step, nobody shall wait for a GPU because of this.
    votes = torch.tensor([int(flag) for flag in flags])
    distributed.all_reduce(votes, op=distributed.ReduceOp.MAX)
    return tuple(bool(vote) for vote in votes.tolist())


def from_first(value: T) -> T:
    """The first process's ``value``, for all."""
    if not several():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def together() -> None:
    """Waits until all have come here."""
    agreed(True)
