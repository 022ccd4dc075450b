"""GPU memory at the peak of a training step. Pure.

The terms and where they come from:

- weights: parameters times bytes. 4-bit NF4 keeps 1 byte of scale per 64 weights, itself scaled by 4 bytes per 256
  of those (double quantisation; Dettmers et al. 2023, arXiv 2305.14314). Embeddings, output layer, norms, routers and
  fused experts stay 16-bit: bitsandbytes replaces linear layers only.
- gradients and optimizer: 4 bytes and twice 4 bytes per trained parameter with 32-bit Adam; 8-bit Adam keeps 2 bytes
  and a scale per block of 256. Paged states live in unified memory and leave the GPU when room is needed.
- activations: with checkpointing each layer's 16-bit input and one whole layer, without it every layer. A layer keeps
  about 9 vectors of the hidden size and 4.5 of the feed-forward size per token; in a quantised layer the latter are
  32-bit copies. Fitted by the project can-i-finetune-this on an RTX 4080 (docs/memory_model.md).
- the loss: TRL computes it in tiles of 4096 tokens x 32768 vocabulary entries; only the tile and the hidden states in
  32 bits exist at a time.
- full fine-tuning keeps 32-bit weights under autocast, which caches a 16-bit copy of each until the forward pass ends.
- what the allocator holds beyond what is in use grows with what comes and goes, not with the weights: the same
  project measured 28 % of the former between allocated and reserved memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubetune_contract import Hyperparameters, Lora, MemoryEstimate, Method, TrainConfig

from .shapes import ModelShape

GIB = 1 << 30
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight."""
CONTEXT = int(0.6 * GIB)
"""CUDA context, cuBLAS workspaces and kernels; not part of what torch reports."""
FRAGMENTATION = 0.25
"""Share of what comes and goes that the allocator holds beyond it."""
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
"""Of TRL's tiled loss (trl 1.16)."""
MATERIALISED = 14
"""Bytes per token and vocabulary entry of a loss over all logits at once (transformers' own): 16-bit logits, their
32-bit copy, its gradient and the 16-bit one."""


@dataclass(frozen=True)
class Recipe:
    """How a run uses memory; ``recipe`` makes our trainer's, tests make those of published measurements."""

    method: Method
    optimizer: str
    batch: int
    sequence: int
    checkpointing: bool
    lora: Lora
    weight_bytes: float
    """Per weight that is not quantised."""
    trained_bytes: int = 4
    """Per trained parameter, and per gradient and optimizer moment of 32-bit optimizers."""
    autocast_copies: bool = False
    tiled_loss: bool = True
    processes: int = 1
    sharded: bool = False
    """FSDP: weights, gradients and optimizer are divided among the processes."""

    @property
    def tokens(self) -> int:
        """Of one micro-batch, at the longest."""
        return self.batch * self.sequence


def recipe(config: TrainConfig) -> Recipe:
    """Our trainer's on a GPU."""
    hyper = config.hyperparameters
    full = config.method is Method.FULL
    return Recipe(
        method=config.method,
        optimizer=hyper.optimizer,
        batch=hyper.per_device_train_batch_size,
        sequence=hyper.max_sequence_length,
        checkpointing=hyper.gradient_checkpointing,
        lora=config.lora,
        weight_bytes=4 if full else 2,
        autocast_copies=full,
        processes=config.processes or max(1, config.gpus),
        sharded=hyper.fsdp and full,
    )


def with_settings(base: Recipe, hyper: Hyperparameters) -> Recipe:
    """``base`` with the settings of ``hyper`` that memory depends on."""
    return replace(
        base,
        optimizer=hyper.optimizer,
        batch=hyper.per_device_train_batch_size,
        sequence=hyper.max_sequence_length,
        checkpointing=hyper.gradient_checkpointing,
    )


def trained_parameters(shape: ModelShape, method: Method, lora: Lora) -> int:
    """Exact; a wrapper's towers are never trained."""
    return shape.parameters - shape.towers if method is Method.FULL else shape.adapter.parameters(lora)


def estimate(shape: ModelShape, run: Recipe) -> MemoryEstimate:
    """Bytes per GPU at the peak, without a verdict."""
    trained = trained_parameters(shape, run.method, run.lora)
    shards = run.processes if run.sharded else 1
    weights = weight_bytes(shape, run) / shards
    adapter = 0 if run.method is Method.FULL else trained * run.trained_bytes
    gradients = trained * run.trained_bytes / shards
    optimizer = optimizer_bytes(shape, run, trained) / shards
    passing = max(_passes(shape, run), _step(run, trained) / shards)
    varying = _passes(shape, run) - _cast(shape, run)
    overhead = CONTEXT + FRAGMENTATION * varying + _copies(shape, run, gradients)
    parts = {
        "weights": int(weights),
        "adapter": int(adapter),
        "gradients": int(gradients),
        "optimizer": int(optimizer),
        "activations": int(passing),
        "overhead": int(overhead),
    }
    return MemoryEstimate(**parts, total=sum(parts.values()), available=None, accelerator=None)


def weight_bytes(shape: ModelShape, run: Recipe) -> float:
    """Of the base model as it is loaded."""
    quantised = shape.linear_parameters if run.method is Method.QLORA else 0
    return quantised * NF4 + (shape.parameters - quantised) * run.weight_bytes


def optimizer_bytes(shape: ModelShape, run: Recipe, trained: int) -> float:
    """Of the optimizer's state."""
    if run.optimizer == "sgd" or run.optimizer.startswith("paged"):
        return 0
    if run.optimizer == "adafactor":
        # A row and a column of 32-bit means for every matrix.
        return trained * 4 / max(1, min(shape.hidden, trained))
    if "8bit" in run.optimizer:
        return trained * 2 * (1 + 4 / 256)
    return trained * 2 * run.trained_bytes


def _passes(shape: ModelShape, run: Recipe) -> float:
    """What exists between the start of the forward and the end of the backward pass."""
    return _cast(shape, run) + _layers(shape, run) + _loss(shape, run) + _workspace(shape, run)


def _cast(shape: ModelShape, run: Recipe) -> float:
    return 2 * shape.parameters if run.autocast_copies and not run.sharded else 0


def _layers(shape: ModelShape, run: Recipe) -> float:
    wide = 4 if run.method is Method.QLORA else 2
    layer = run.tokens * (9 * shape.hidden * 2 + 4.5 * shape.ffn * wide)
    if run.checkpointing:
        return run.tokens * shape.hidden * 2 * shape.layers + layer
    return layer * shape.layers


def _loss(shape: ModelShape, run: Recipe) -> float:
    if not run.tiled_loss:
        return run.tokens * shape.vocabulary * MATERIALISED
    tile = min(run.tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)
    return tile * 4 + run.tokens * shape.hidden * 8


def _workspace(shape: ModelShape, run: Recipe) -> float:
    # What may see what, in 8 bits and, for the kernel, in 16.
    mask = 3 * run.batch * run.sequence**2
    # A layer's weights in 16 bits, once for the product and once for its gradient.
    unpacked = shape.largest_linear * 4 if run.method is Method.QLORA else 0
    # DoRA computes the norm of each adapted weight in 32 bits.
    norms = shape.largest_linear * 8 if run.lora.use_dora and run.method is not Method.FULL else 0
    return mask + unpacked + norms


def _step(run: Recipe, trained: int) -> float:
    """What the optimizer's step needs beyond its states, when all activations are gone."""
    # Unfused Adam takes the square roots of all second moments at once (torch.optim, foreach).
    return trained * run.trained_bytes if run.optimizer == "adamw_torch" else 0


def _copies(shape: ModelShape, run: Recipe, gradients: float) -> float:
    """What several processes add: DDP's gradient buckets, or two gathered layers under FSDP."""
    if run.processes == 1:
        return 0
    if not run.sharded:
        return gradients
    return 2 * run.weight_bytes * (shape.embedding + shape.linear_parameters / max(1, shape.layers))
