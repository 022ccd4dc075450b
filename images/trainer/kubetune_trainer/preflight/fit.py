"""Does it fit, and if not, what is the nearest setting that does. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubetune_contract import Accelerator, Fit, Hyperparameters, MemoryEstimate, Method, TrainConfig
from kubetune_trainer.recovery.ladder import rungs_below, settings_of

from .estimate import GIB, Recipe, estimate, recipe
from .shapes import ModelShape

TIGHT, FULL = 0.9, 1.0
"""Shares of the GPU's memory from which on a run is tight, and does not fit."""
LIBRARIES = GIB
"""Main memory of a process before it has loaded a model."""
SHORTEST, STEP = 128, 64
"""Sequence lengths proposed: multiples of STEP from SHORTEST tokens on."""


@dataclass(frozen=True)
class Verdict:
    """The answer, in one word and in a sentence."""

    fit: Fit
    message: str
    memory: MemoryEstimate | None = None
    accelerator: Accelerator | None = None
    """The one the verdict is about."""

    def lands_on(self, accelerator: Accelerator) -> bool:
        """Whether the run may land there: the operator keeps it off GPUs with less memory than it needs, or, where
        none has enough, than the one the verdict is about."""
        if self.memory is None or self.accelerator is None:
            return True
        return accelerator.memory_bytes >= min(self.memory.total, self.accelerator.memory_bytes)


def judge(needed: int, available: int) -> Fit:
    """Fits up to 90 % of the memory, tight up to all of it."""
    share = needed / available
    return Fit.FITS if share <= TIGHT else Fit.TIGHT if share <= FULL else Fit.DOES_NOT_FIT


def verdict(config: TrainConfig, shape: ModelShape, main_memory: int) -> Verdict:
    """About the smallest GPU that is large enough, for the operator keeps the run off smaller ones; without one, about
    the largest. Without GPUs ``main_memory`` is what the pod may use."""
    if config.gpus == 0:
        return Verdict(Fit.UNKNOWN, _on_cpu(config, shape, main_memory))
    needed = estimate(shape, recipe(config))
    known = [card for card in config.placement.accelerators if card.memory_bytes > 0]
    if not known:
        return Verdict(
            Fit.UNKNOWN,
            f"needs about {_gib(needed.total)} per GPU, but nothing is known about the cluster's GPUs; state "
            "spec.resources.gpuMemory, or install NVIDIA GPU feature discovery, which labels nodes with it",
            needed,
        )
    known.sort(key=lambda accelerator: accelerator.memory_bytes)
    card = next((one for one in known if judge(needed.total, one.memory_bytes) is not Fit.DOES_NOT_FIT), known[-1])
    memory = dataclasses.replace(needed, available=card.memory_bytes, accelerator=card.name)
    fit = judge(needed.total, card.memory_bytes)
    said = f"needs about {_gib(needed.total)} of the {_gib(card.memory_bytes)} of {card.name}"
    said += f" ({needed.total / card.memory_bytes:.0%})"
    rescued = adapted(config, shape, card.memory_bytes) if fit is Fit.DOES_NOT_FIT else None
    if rescued:
        # recovery.outOfMemory: Adapt asks for exactly this; to refuse the run would cost the night it was to save.
        return Verdict(Fit.TIGHT, f"{said}; the trainer will go down to {rescued} by itself", memory, card)
    if fit is not Fit.FITS:
        said = "; ".join([said, *_larger(known, needed.total), nearest(config, shape, card.memory_bytes)])
    return Verdict(fit, said, memory, card)


def adapted(config: TrainConfig, shape: ModelShape, available: int) -> str | None:
    """The rung of the trainer's own ladder that fits, in words; None when it may not go down or none does."""
    if not config.recovery.adapt_to_memory:
        return None
    for hyper in _rungs(config.hyperparameters):
        proposed = dataclasses.replace(config, hyperparameters=hyper)
        if judge(estimate(shape, recipe(proposed)).total, available) is not Fit.DOES_NOT_FIT:
            return _difference(config, proposed)
    return None


def nearest(config: TrainConfig, shape: ModelShape, available: int) -> str:
    """The first change that brings the run to 90 % of ``available``, in the words of the spec, with numbers."""
    for proposed in _changes(config):
        needed = estimate(shape, recipe(proposed)).total
        if needed <= TIGHT * available:
            return f"nearest that fits: {_difference(config, proposed)}: {_gib(needed)} ({needed / available:.0%})"
    shorter = _longest(config, shape, available)
    if shorter:
        needed = estimate(shape, recipe(shorter)).total
        return f"nearest that fits: {_difference(config, shorter)}: {_gib(needed)} ({needed / available:.0%})"
    least = estimate(shape, recipe(_shortened(_smallest(config), SHORTEST))).total
    return (
        f"no setting fits: {_difference(config, _shortened(_smallest(config), SHORTEST))} still needs "
        f"{_gib(least)}; take a smaller base model or a GPU of at least {_gib(least / TIGHT)}"
    )


def _changes(config: TrainConfig) -> Iterator[TrainConfig]:
    """From what changes the experiment least to what changes it most."""
    for hyper in _rungs(config.hyperparameters):
        yield dataclasses.replace(config, hyperparameters=hyper)
    if config.method is not Method.QLORA:
        quantised = dataclasses.replace(config, method=Method.QLORA)
        yield quantised
        for hyper in _rungs(config.hyperparameters):
            yield dataclasses.replace(quantised, hyperparameters=hyper)


def _rungs(hyper: Hyperparameters) -> Iterator[Hyperparameters]:
    """What the trainer itself would go down to, in that order."""
    for rung in rungs_below(settings_of(hyper), "cuda"):
        yield dataclasses.replace(hyper, **dataclasses.asdict(rung.settings))


def _smallest(config: TrainConfig) -> TrainConfig:
    """The last of all changes; the configuration itself when nothing can be lowered."""
    *_, last = [config, *_changes(config)]
    return last


def _longest(config: TrainConfig, shape: ModelShape, available: int) -> TrainConfig | None:
    """The smallest settings with the longest sequence that fits; None when not even the shortest does."""
    smallest = _smallest(config)
    low, high = SHORTEST // STEP - 1, config.hyperparameters.max_sequence_length // STEP
    while low < high:
        middle = (low + high + 1) // 2
        needed = estimate(shape, recipe(_shortened(smallest, middle * STEP))).total
        low, high = (middle, high) if needed <= TIGHT * available else (low, middle - 1)
    return _shortened(smallest, low * STEP) if low * STEP >= SHORTEST else None


def _shortened(config: TrainConfig, length: int) -> TrainConfig:
    length = min(length, config.hyperparameters.max_sequence_length)
    hyper = dataclasses.replace(config.hyperparameters, max_sequence_length=length)
    return dataclasses.replace(config, hyperparameters=hyper)


def _difference(config: TrainConfig, proposed: TrainConfig) -> str:
    """What must be written into the spec."""
    before, after = config.hyperparameters, proposed.hyperparameters
    changed = [] if config.method is proposed.method else [f"method: {proposed.method}"]
    for name, member in (
        ("perDeviceTrainBatchSize", "per_device_train_batch_size"),
        ("gradientAccumulationSteps", "gradient_accumulation_steps"),
        ("gradientCheckpointing", "gradient_checkpointing"),
        ("optimizer", "optimizer"),
        ("maxSequenceLength", "max_sequence_length"),
    ):
        value = getattr(after, member)
        if value != getattr(before, member):
            changed.append(f"{name}: {str(value).lower()}")
    return ", ".join(changed) or "what is asked for"


def _larger(known: Iterable[Accelerator], needed: int) -> Iterator[str]:
    enough = [card for card in known if judge(needed, card.memory_bytes) is Fit.FITS]
    if enough:
        card = min(enough, key=lambda card: card.memory_bytes)
        whole = -(-int(needed / TIGHT) // GIB)
        # A card of 24 GB has 24564 MiB, say: 24Gi would leave it out.
        asked = f"{whole}Gi" if whole * GIB <= card.memory_bytes else f"{card.memory_bytes // 2**20}Mi"
        yield f"it fits {card.name}: set resources.gpuMemory: {asked} to land only there"


def _on_cpu(config: TrainConfig, shape: ModelShape, main_memory: int) -> str:
    # The most of what CPUs do: 32-bit weights (only QLoRA's are smaller) where they have no bfloat16, and where they
    # have it, copies in bfloat16 of the weights that are trained.
    run: Recipe = dataclasses.replace(recipe(config), weight_bytes=4)
    needed = estimate(shape, run).total + LIBRARIES
    enough = "" if needed <= TIGHT * main_memory else ", which may not be enough: raise spec.resources.memory"
    return (
        f"trains on the CPU and needs very roughly {_gib(needed)} of main memory per process; this pod may use "
        f"{_gib(main_memory)}{enough}"
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
