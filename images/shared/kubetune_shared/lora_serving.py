"""Adapters that vLLM cannot serve on their base, or would serve wrongly without a word. Pure.

Read from vLLM 0.32: the models without SupportsLoRA, and what its loader makes of peft's adapters on fused experts. It
takes their matrices apart in another order than peft puts them together where the model does not say that its experts
are stacked (``is_3d_moe_weight``), and passes over layers that it has under other names (Mixtral's
``block_sparse_moe``). Neither is told by vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WITHOUT_LORA = frozenset(
    {
        "BloomForCausalLM",
        "DbrxForCausalLM",
        "FalconForCausalLM",
        "FalconMambaForCausalLM",
        "GPT2LMHeadModel",
        "GPTJForCausalLM",
        "Gemma3nForCausalLM",
        "Mamba2ForCausalLM",
        "MambaForCausalLM",
        "OrionForCausalLM",
        "StableLmForCausalLM",
        "Zamba2ForCausalLM",
    }
)
"""Architectures for which vLLM serves whole models only."""


def not_served(model: Mapping[str, Any], adapter: Mapping[str, Any]) -> str | None:
    """Why an adapter with this ``adapter_config.json`` is not served on the model of this ``config.json``; None when it
    is."""
    (architecture, *_) = model.get("architectures") or [""]
    if architecture in WITHOUT_LORA:
        return f"vLLM serves no adapters on {architecture}"
    if adapter.get("target_parameters"):
        return "vLLM takes adapters on fused experts (target_parameters) apart in another order than peft makes them"
    return None
