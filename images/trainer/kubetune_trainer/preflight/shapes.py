"""What memory and time of a training depend on. Pure; ``counting.py`` finds it out."""

from __future__ import annotations

from dataclasses import dataclass

from kubetune_contract import Lora


class ShapeError(ValueError):
    """The model's dimensions cannot be told; the message says why."""


@dataclass(frozen=True)
class Adapter:
    """What ``lora.targetModules`` puts on a model."""

    per_rank: int = 0
    """Trained weights of a rank of 1: inputs and outputs of every adapted layer, those of experts many times."""
    outputs: int = 0
    """Of all adapted layers, each of which has a magnitude under DoRA."""

    def parameters(self, lora: Lora) -> int:
        """Trained weights."""
        return lora.rank * self.per_rank + (self.outputs if lora.use_dora else 0)


@dataclass(frozen=True)
class ModelShape:
    """A model with the adapter of one configuration; numbers of parameters, not bytes."""

    parameters: int
    """Each counted once, however many layers share it."""
    hidden: int
    ffn: int
    """Width of what a token passes through between a layer's two projections; of all experts it is sent to."""
    layers: int
    heads: int
    vocabulary: int
    linear_parameters: int
    """In linear layers, which can be quantised: without the output layer, routers and fused experts."""
    largest_linear: int
    """Weights of the largest of them."""
    embedding: int
    """Of the input embedding, which costs no multiplications."""
    tied: bool
    """Whether the output layer is the input embedding."""
    adapter: Adapter = Adapter()
    adapts_experts: bool = False
    towers: int = 0
    """In vision, audio and projectors, which are loaded and never trained."""
    idle_experts: int = 0
    """In experts that a token does not pass through."""

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with."""
        return self.parameters - self.towers - self.idle_experts - (0 if self.tied else self.embedding)
