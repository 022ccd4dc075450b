"""Memory peaks and speeds that others have measured and published, with the models they were measured on.

Models are written as the headers of their files would say it: names and shapes, from their published configurations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kubetune_contract import Lora, Method
from kubetune_trainer.preflight.estimate import GIB, Recipe
from kubetune_trainer.preflight.shapes import Adapter, ModelShape

Tensors = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Llama:
    """A decoder with gated feed-forward and grouped queries: Llama and Qwen alike."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    groups: int
    vocabulary: int
    tied: bool = False
    biased: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """``config.json``."""
        return {
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.groups,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
        }

    @property
    def tensors(self) -> Tensors:
        """What the safetensors headers hold."""
        found: Tensors = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        for number in range(self.layers):
            found |= {f"model.layers.{number}.{name}": shape for name, shape in self._layer().items()}
        found["model.norm.weight"] = (self.hidden,)
        return found if self.tied else {**found, "lm_head.weight": (self.vocabulary, self.hidden)}

    def _layer(self) -> Tensors:
        shared = self.groups * self.hidden // self.heads
        outputs = {"q": self.hidden, "k": shared, "v": shared}
        found: Tensors = {f"self_attn.{name}_proj.weight": (width, self.hidden) for name, width in outputs.items()}
        if self.biased:
            found |= {f"self_attn.{name}_proj.bias": (width,) for name, width in outputs.items()}
        return {
            **found,
            "self_attn.o_proj.weight": (self.hidden, self.hidden),
            "mlp.gate_proj.weight": (self.ffn, self.hidden),
            "mlp.up_proj.weight": (self.ffn, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.ffn),
            "input_layernorm.weight": (self.hidden,),
            "post_attention_layernorm.weight": (self.hidden,),
        }

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of the layers that all-linear is about."""
        found = self.tensors.items()
        return {name: (shape[0], shape[1]) for name, shape in found if name.endswith("_proj.weight")}

    @property
    def shape(self) -> ModelShape:
        """As preflight sees it."""
        return self.shape_for(("all-linear",))

    def shape_for(self, targets: tuple[str, ...]) -> ModelShape:
        """With an adapter on those layers."""
        wanted = None if targets == ("all-linear",) else tuple(f".{target}.weight" for target in targets)
        chosen = [shape for name, shape in self.linears.items() if wanted is None or name.endswith(wanted)]
        sizes = [math.prod(shape) for shape in self.linears.values()]
        return ModelShape(
            parameters=sum(math.prod(shape) for shape in self.tensors.values()),
            hidden=self.hidden,
            ffn=self.ffn,
            layers=self.layers,
            heads=self.heads,
            vocabulary=self.vocabulary,
            linear_parameters=sum(sizes),
            largest_linear=max(sizes),
            embedding=self.vocabulary * self.hidden,
            tied=self.tied,
            adapter=Adapter(sum(map(sum, chosen)), sum(outputs for outputs, _ in chosen)),
        )


MODELS = {
    "Qwen2.5-0.5B": Llama(896, 4864, 24, 14, 2, 151936, tied=True, biased=True),
    "Qwen2.5-1.5B": Llama(1536, 8960, 28, 12, 2, 151936, tied=True, biased=True),
    "Qwen2.5-3B": Llama(2048, 11008, 36, 16, 2, 151936, tied=True, biased=True),
    "Qwen2.5-7B": Llama(3584, 18944, 28, 28, 4, 152064, biased=True),
    "Qwen2.5-14B": Llama(5120, 13824, 48, 40, 8, 152064, biased=True),
    "Qwen2.5-32B": Llama(5120, 27648, 64, 40, 8, 152064, biased=True),
    "Llama-3.2-1B": Llama(2048, 8192, 16, 32, 8, 128256, tied=True),
    "Llama-3.2-3B": Llama(3072, 8192, 28, 24, 8, 128256, tied=True),
    "Llama-3.1-8B": Llama(4096, 14336, 32, 32, 8, 128256),
    "Llama-3.1-70B": Llama(8192, 28672, 80, 64, 8, 128256),
    "Llama-7B": Llama(4096, 11008, 32, 32, 32, 32000),
    "Llama-13B": Llama(5120, 13824, 40, 40, 40, 32000),
    "Llama-30B": Llama(6656, 17920, 60, 52, 52, 32000),
}
PARAMETERS = {
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-7B": 7_615_616_512,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.1-8B": 8_030_261_248,
}
"""As their model cards on the hub say."""


@dataclass(frozen=True)
class Published:
    """One figure. Measured ones are what torch had reserved, without the CUDA context; stated ones a card's memory."""

    source: str
    model: str
    run: Recipe
    gib: float
    low: float
    high: float
    """Band of the estimate over it."""
    measured: bool = True
    tokens_per_second: float | None = None
    tflops: float = 0.0

    def __str__(self) -> str:
        length = f"{self.run.batch}x{self.run.sequence}"
        kept = "" if self.run.checkpointing else " without checkpointing"
        return f"{self.source}: {self.model} {self.run.method} {length}{kept}"


_ATTENTION = Lora(rank=16, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))
_ALL = Lora(rank=16)
_NARROW = Lora(rank=8)


def _rtx4080(model: str, tokens: tuple[int, int], gib: float, speed: float, **changes: Any) -> Published:
    """DaoyuanLi2816/can-i-finetune-this, docs/rtx4080_baselines.md: transformers' own loss, embeddings in 32 bits.

    (Those come from peft's prepare_model_for_kbit_training, which we do not call.)
    """
    method = changes.get("method", Method.QLORA)
    run = Recipe(
        method=method,
        optimizer="paged_adamw_8bit",
        batch=tokens[0],
        sequence=tokens[1],
        checkpointing=changes.get("checkpointing", True),
        lora=_ATTENTION,
        weight_bytes=4 if method is Method.QLORA else 2,
        tiled_loss=False,
    )
    return Published("RTX 4080", model, run, gib, 0.9, 1.15, tokens_per_second=speed, tflops=97.5)


def _torchtune(model: str, method: Method, gib: float, **changes: Any) -> Published:
    """pytorch/torchtune 0.6.1, README: compiled, packed to 2048, 16-bit throughout, loss in chunks."""
    run = Recipe(
        method=method,
        optimizer=changes.get("optimizer", "adamw_torch_fused"),
        batch=changes.get("batch", 2),
        sequence=2048,
        checkpointing=changes.get("checkpointing", True),
        lora=_NARROW,
        weight_bytes=2,
        trained_bytes=changes.get("trained_bytes", 2 if method is Method.FULL else 4),
        processes=changes.get("processes", 1),
        sharded=changes.get("processes", 1) > 1,
    )
    speed, tflops = changes["speed"], changes.get("tflops", 165.2)
    return Published("torchtune", model, run, gib, 0.85, 1.3, tokens_per_second=speed, tflops=tflops)


def _stated(source: str, model: str, method: Method, gigabytes: float, lora: Lora = _ALL) -> Published:
    """A round figure from a table for orientation, in 10^9 bytes, at an unnamed length (1024 here)."""
    run = Recipe(method, "adamw_8bit", 1, 1024, True, lora, 2)
    return Published(source, model, run, gigabytes * 1e9 / GIB, 0.8, 1.55, measured=False)


PUBLISHED = (
    _rtx4080("Qwen2.5-0.5B", (1, 1024), 3.30, 3337),
    _rtx4080("Qwen2.5-0.5B", (1, 2048), 6.28, 3445),
    _rtx4080("Qwen2.5-0.5B", (1, 1024), 3.79, 3762, method=Method.LORA),
    _rtx4080("Qwen2.5-1.5B", (1, 512), 2.91, 1498),
    _rtx4080("Qwen2.5-1.5B", (1, 1024), 4.36, 2483),
    _rtx4080("Qwen2.5-1.5B", (1, 2048), 7.10, 2327),
    _rtx4080("Qwen2.5-1.5B", (1, 4096), 13.56, 1662),
    _rtx4080("Qwen2.5-1.5B", (2, 1024), 6.88, 2662),
    _rtx4080("Qwen2.5-1.5B", (1, 1024), 9.55, 3003, checkpointing=False),
    _rtx4080("Qwen2.5-3B", (1, 1024), 5.54, 1303),
    _rtx4080("Qwen2.5-7B", (1, 1024), 11.23, 923),
    _torchtune("Llama-3.1-8B", Method.QLORA, 7.4, speed=2413),
    _torchtune("Llama-3.1-8B", Method.LORA, 16.2, speed=3083),
    # The optimizer's step is part of the backward pass, so gradients are never all there.
    _torchtune("Llama-3.1-8B", Method.FULL, 18.9, speed=1650, optimizer="paged_adamw_8bit", trained_bytes=0),
    _torchtune("Llama-3.1-70B", Method.LORA, 27.6, speed=3497, processes=8, tflops=8 * 312),
    _torchtune("Llama-3.2-3B", Method.FULL, 42.9, speed=7075, checkpointing=False, tflops=312),
    _torchtune("Llama-3.2-3B", Method.FULL, 24.9, speed=7210, tflops=312),
    _torchtune("Llama-3.2-3B", Method.FULL, 17.6, speed=6960, optimizer="adamw_8bit", tflops=312),
    _stated("unsloth", "Llama-7B", Method.QLORA, 5),
    _stated("unsloth", "Llama-3.1-8B", Method.QLORA, 6),
    _stated("unsloth", "Qwen2.5-14B", Method.QLORA, 8.5),
    _stated("unsloth", "Qwen2.5-32B", Method.QLORA, 26),
    _stated("unsloth", "Llama-3.1-70B", Method.QLORA, 41),
    _stated("unsloth", "Qwen2.5-7B", Method.LORA, 19),
    _stated("unsloth", "Llama-3.1-8B", Method.LORA, 22),
    _stated("unsloth", "Qwen2.5-14B", Method.LORA, 33),
    _stated("LLaMA-Factory", "Llama-7B", Method.QLORA, 6, _NARROW),
    _stated("LLaMA-Factory", "Llama-13B", Method.QLORA, 12, _NARROW),
    _stated("LLaMA-Factory", "Llama-30B", Method.QLORA, 24, _NARROW),
    _stated("LLaMA-Factory", "Llama-7B", Method.LORA, 16, _NARROW),
    _stated("LLaMA-Factory", "Llama-13B", Method.LORA, 32, _NARROW),
    _stated("LLaMA-Factory", "Llama-30B", Method.LORA, 80, _NARROW),
)
