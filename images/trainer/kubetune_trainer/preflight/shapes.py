"""A model's dimensions, from its ``config.json`` and the headers of its safetensors files. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads")
_FFN = ("intermediate_size", "n_inner", "ffn_hidden_size", "moe_intermediate_size")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_HEADS_OF_MODELS = frozenset({"lm_head", "embed_out"})
_EMBEDDINGS = frozenset({"embed_tokens", "embed_in", "wte", "wpe", "word_embeddings", "embed_positions"})
# Routers and fused experts are no nn.Linear: bitsandbytes leaves them alone, and so does peft's all-linear.
_ROUTERS = frozenset({"gate", "router"})
_EXPERT_PARTS = frozenset({"experts"})


class ShapeError(ValueError):
    """The configuration or the headers do not say enough; the message names what is missing."""


@dataclass(frozen=True)
class Linear:
    """A linear layer by its place in the model, for example ``model.layers.0.self_attn.q_proj``."""

    name: str
    inputs: int
    outputs: int

    @property
    def parameters(self) -> int:
        """Weights without bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """What memory and time depend on; numbers of parameters, not bytes."""

    parameters: int
    hidden: int
    ffn: int
    layers: int
    heads: int
    vocabulary: int
    linears: tuple[Linear, ...]
    """Linear layers that can be quantised and adapted: without the output layer, routers and fused experts."""
    largest_tensor: int
    embedding: int
    """Of the input embedding, which costs no multiplications."""
    tied: bool
    """Whether the output layer is the input embedding."""
    idle_experts: int = 0
    """In experts that a token does not pass through."""

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with."""
        return self.parameters - self.idle_experts - (0 if self.tied else self.embedding)

    @cached_property
    def linear_parameters(self) -> int:
        """In ``linears``."""
        return sum(linear.parameters for linear in self.linears)

    @cached_property
    def largest_linear(self) -> int:
        """Weights of the largest of ``linears``."""
        return max((linear.parameters for linear in self.linears), default=0)

    def targets(self, modules: Iterable[str]) -> tuple[Linear, ...]:
        """The linear layers that peft would put an adapter on for ``target_modules=modules``."""
        wanted = tuple(modules)
        if wanted == ("all-linear",):
            return self.linears
        return tuple(
            linear
            for linear in self.linears
            if any(linear.name == module or linear.name.endswith(f".{module}") for module in wanted)
        )


def model_shape(config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> ModelShape:
    """The model whose files hold ``tensors`` (name -> shape).

    Raises ShapeError when ``config`` (``config.json``) lacks a dimension, ``tensors`` is empty, or the weights are
    quantised already, so that their shapes are not those of the layers.
    """
    if config.get("quantization_config"):
        raise ShapeError("its weights are quantised already")
    # Models of text and images keep the language model's dimensions one level down.
    text = {**config, **config["text_config"]} if isinstance(config.get("text_config"), Mapping) else config
    hidden = _dimension(text, _HIDDEN)
    sizes = {name: math.prod(shape) for name, shape in tensors.items()}
    if not sizes:
        raise ShapeError("its files hold no tensors")
    tied = bool(text.get("tie_word_embeddings")) or not any(_last(name) in _HEADS_OF_MODELS for name in sizes)
    if tied:
        # Some files hold the shared matrix twice; in memory it is there once.
        sizes = {name: size for name, size in sizes.items() if _last(name) not in _HEADS_OF_MODELS}
    linears = tuple(_linears(tensors, transposed=text.get("model_type") == "gpt2"))
    embeddings = [size for name, size in sizes.items() if _last(name) in _EMBEDDINGS]
    return ModelShape(
        parameters=sum(sizes.values()),
        hidden=hidden,
        ffn=_dimension(text, _FFN, 4 * hidden),
        layers=_dimension(text, _LAYERS),
        heads=_dimension(text, _HEADS),
        vocabulary=_dimension(text, ("vocab_size",), max(embeddings, default=0) // hidden),
        linears=linears,
        largest_tensor=max(sizes.values()),
        embedding=max(embeddings, default=0),
        tied=tied,
        idle_experts=_idle_experts(text, sizes),
    )


def adaptable(tensors: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of the linear layers that an adapter may be put on, by their place in the model."""
    return [linear.name for linear in _linears(tensors, transposed=False)]


def _linears(tensors: Mapping[str, tuple[int, ...]], *, transposed: bool) -> Iterable[Linear]:
    for name, shape in tensors.items():
        module, _, kind = name.rpartition(".")
        parts = module.split(".")
        if kind != "weight" or len(shape) != 2:
            continue
        if parts[-1] in _HEADS_OF_MODELS | _EMBEDDINGS | _ROUTERS or _EXPERT_PARTS & set(parts):
            continue
        # GPT-2's Conv1D keeps its weights as inputs x outputs, everybody else as outputs x inputs.
        outputs, inputs = reversed(shape) if transposed else shape
        yield Linear(module, inputs, outputs)


def _idle_experts(config: Mapping[str, Any], sizes: Mapping[str, int]) -> int:
    count = next((int(config[name]) for name in _EXPERTS if config.get(name)), 0)
    used = int(config.get("num_experts_per_tok") or 0)
    if not count or not used:
        return 0
    experts = sum(size for name, size in sizes.items() if _EXPERT_PARTS & set(name.split(".")))
    return experts * max(0, count - used) // count


def _last(name: str) -> str:
    """``lm_head`` of ``lm_head.weight``."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _dimension(config: Mapping[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    if default:
        return default
    raise ShapeError(f"its config.json has no {names[0]}")
