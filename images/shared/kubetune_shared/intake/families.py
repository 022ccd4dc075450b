"""The families of models that are tried as tiny random ones of their real classes, and what works for each.

``docs/models.md`` is written from this table (``make generate``), and the tests run it row by row: a row
that says more or less than what happens fails. A family that is not here is not refused for that: it is trained when
transformers has a class for it, and exported when the library can.
"""

from __future__ import annotations

from dataclasses import dataclass

YES = ""
"""In place of a reason why not."""


@dataclass(frozen=True)
class Family:
    """One ``model_type``. Of each thing that can be done with it: YES, or why not and what to do instead."""

    model_type: str
    name: str
    """For people, with the models they know."""
    trained: str = YES
    """LoRA and full tuning."""
    merged: str = YES
    """The adapter merged into the base."""
    gguf: str = YES
    """The result for llama.cpp."""
    served: str = YES
    """By vLLM, base and adapter."""
    packed: str = YES
    """Several rows in one sequence, none of which sees another."""
    note: str = ""
    """What is particular: which part is trained, which layers an adapter goes on."""


FAMILIES = (
    Family("llama", "Llama 2, 3; SmolLM, SmolLM2, TinyLlama, Vicuna"),
    Family("mistral", "Mistral"),
    Family("qwen2", "Qwen 2, 2.5"),
    Family("qwen3", "Qwen 3"),
    Family("qwen3_moe", "Qwen 3 MoE"),
    Family("qwen3_5", "Qwen 3.5", note="the text side is trained; the vision tower stays as it is"),
    Family("gemma2", "Gemma 2"),
    Family("gemma3", "Gemma 3 (4B and larger)", note="the text side is trained; the vision tower stays as it is"),
    Family("gemma3_text", "Gemma 3 (270M, 1B)"),
    Family("phi3", "Phi-3, Phi-4"),
    Family("gpt2", "GPT-2"),
    Family("mixtral", "Mixtral"),
    Family("gpt_oss", "gpt-oss"),
    Family("granitemoehybrid", "Granite 4 (hybrid)"),
    Family("smollm3", "SmolLM3"),
)
BY_TYPE = {family.model_type: family for family in FAMILIES}


def family(model_type: str | None) -> Family | None:
    """The row of a ``model_type``; None for one that is not tried here."""
    return BY_TYPE.get(model_type or "")
