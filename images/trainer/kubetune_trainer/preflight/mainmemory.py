"""Main memory at the peak of a training on a CPU, and whether the pod's suffices. Pure.

Measured with this image's libraries on models of 0.3 to 194 million parameters (docs/training.md has the table):

- libraries: what the process holds before it has loaded anything (0.36 GiB), and what MLflow, the store's client and
  their threads add. The files of the libraries themselves are mapped, and
  the kernel drops them before it kills.
- weights, adapter and gradients are 32-bit; only linear layers under qlora are smaller, and, on CPUs that compute in
  bfloat16, everything that is not trained.
- activations are 32-bit: a layer keeps some 27 vectors of the hidden size and 5 of the feed-forward size per token,
  and, where torch's attention has no fused form for the case, the square of the sequence for each head.
- the loss is computed in tiles (see estimate.py), with some ten 32-bit numbers for each entry.

What is left open is how long the allocator keeps what was freed, and what other threads hold for a moment. So there is
an interval, and only what does not fit at its lower end, with all that the trainer lowers by itself, is called so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kubetune_contract import ExitCode, Fit, KubeTuneError, MemoryEstimate, Method, TrainConfig
from kubetune_trainer.recovery.ladder import rungs_below, settings_of

from .estimate import (
    TILE_TOKENS,
    TILE_VOCABULARY,
    Recipe,
    optimizer_bytes,
    recipe,
    trained_parameters,
    weight_bytes,
)
from .shapes import ModelShape

MIB, GIB = 1 << 20, 1 << 30
LIBRARIES = 560 * MIB
LEAST_LIBRARIES, MOST_LIBRARIES = 400 * MIB, 700 * MIB
STEP = 256 * MIB
"""Memory is proposed in multiples of this."""


@dataclass(frozen=True)
class Activations:
    """What a layer keeps for the backward pass."""

    hidden: float
    """Vectors of the hidden size per token."""
    ffn: float
    """Vectors of the feed-forward size per token."""
    squares: float
    """Matrices of sequence x sequence per row and head."""
    tiles: float
    """Of the loss, which is no layer's own."""
    width: int = 4
    """Bytes of a number: 2 on CPUs that compute in bfloat16, which the preflight's own node says nothing about."""


LEAST = Activations(6, 2.5, 0, 4, width=2)
LIKELY = Activations(27, 5, 0, 10)
MOST = Activations(32, 6, 1, 12)


@dataclass(frozen=True)
class Need:
    """Bytes of the whole pod: all its training processes."""

    least: int
    likely: int
    most: int
    memory: MemoryEstimate


def need(config: TrainConfig, shape: ModelShape) -> Need:
    """Of ``config`` as it is; the least is that of what the trainer would lower it to."""
    count = config.processes or 1
    run, lowest = cpu_recipe(config), cpu_recipe(_lowest(config), LEAST.width)
    asked = estimate_main(shape, run, LIKELY)
    least = estimate_main(shape, lowest, LEAST).total - LIBRARIES + LEAST_LIBRARIES
    most = estimate_main(shape, run, MOST).total - LIBRARIES + MOST_LIBRARIES
    return Need(least * count, asked.total * count, most * count, asked)


def judge_main(wanted: Need, available: int) -> Fit:
    """DoesNotFit only where it cannot: in between it may or may not."""
    if wanted.least > available:
        return Fit.DOES_NOT_FIT
    return Fit.TIGHT if wanted.most > available else Fit.FITS


def said_of(wanted: Need, available: int, fit: Fit) -> str:
    """In the words of the spec."""
    text = (
        f"trains on the CPU and needs about {_size(wanted.likely)} of main memory (between {_size(wanted.least)} and "
        f"{_size(wanted.most)}); this pod may use {_size(available)}"
    )
    if fit is Fit.FITS:
        return text
    tail = "which cannot suffice" if fit is Fit.DOES_NOT_FIT else "which may not suffice"
    return f"{text}, {tail}: set spec.resources.memory: {asked_for(wanted.most)}"


def asked_for(size: float) -> str:
    """As a quantity, rounded up."""
    steps = -(-int(size) // STEP)
    return f"{steps * STEP // GIB}Gi" if steps * STEP % GIB == 0 else f"{steps * STEP // MIB}Mi"


def check_memory(available: int) -> None:
    """Raises KubeTuneError (BAD_CONFIG, InvalidConfig) where not even the libraries fit.

    The preflight loads them, too, and would be killed without a word.
    """
    if available < LEAST_LIBRARIES:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "InvalidConfig",
            f"this pod may use {_size(available)} of main memory, and PyTorch and its libraries alone take "
            f"{_size(LEAST_LIBRARIES)}: set spec.resources.memory: {asked_for(2 * LIBRARIES)} or more",
        )


def cpu_recipe(config: TrainConfig, width: int = 4) -> Recipe:
    """Our trainer's on a CPU that computes with numbers of ``width`` bytes; what is trained is 32-bit."""
    full = config.method is Method.FULL
    return dataclasses.replace(recipe(config), weight_bytes=4 if full else width, autocast_copies=False)


def estimate_main(shape: ModelShape, run: Recipe, kept: Activations) -> MemoryEstimate:
    """Bytes of one process at the peak."""
    trained = trained_parameters(shape, run.method, run.lora)
    shards = run.processes if run.sharded else 1
    squares = kept.squares * run.batch * shape.heads * run.sequence**2
    layer = (run.tokens * (kept.hidden * shape.hidden + kept.ffn * shape.ffn) + squares) * kept.width
    inputs = run.tokens * shape.hidden * shape.layers * kept.width
    layers = inputs + layer if run.checkpointing else layer * shape.layers
    loss = kept.tiles * 4 * min(run.tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)
    unpacked = shape.largest_linear * 8 if run.method is Method.QLORA else 0
    parts = {
        "weights": int(weight_bytes(shape, run) / shards),
        "adapter": 0 if run.method is Method.FULL else trained * 4,
        "gradients": int(trained * 4 / shards),
        "optimizer": int(optimizer_bytes(shape, run, trained) / shards),
        "activations": int(layers + loss + unpacked),
        "overhead": LIBRARIES,
    }
    return MemoryEstimate(**parts, total=sum(parts.values()), available=None, accelerator=None)


def _lowest(config: TrainConfig) -> TrainConfig:
    """With everything lowered that the trainer lowers by itself when an allocation fails."""
    if not config.recovery.adapt_to_memory:
        return config
    settings = settings_of(config.hyperparameters)
    for rung in rungs_below(settings, "cpu"):
        settings = rung.settings
    hyper = dataclasses.replace(config.hyperparameters, **dataclasses.asdict(settings))
    return dataclasses.replace(config, hyperparameters=hyper)


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"
