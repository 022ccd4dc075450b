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


_NO_GGUF = "refused before training: only Llama, Mistral, Qwen 2 and 3 are converted; leave out export.gguf"
_MERGED_ONLY = (
    "an adapter on the experts merged only (export.merged), as vLLM takes fused experts apart in another order than "
    "peft; one on attention layers alone is served"
)
_EXPERTS = "all-linear adapts attention, fused experts and routers; peft has neither dropout nor DoRA for those"
_TEXT = "the text side is trained; vision tower and projector stay as they are"
_LEAKS = "refused (left out where a preset asks for it): packed rows would learn from each other"

FAMILIES = (
    Family("llama", "Llama 2, 3; SmolLM, SmolLM2, TinyLlama, Vicuna"),
    Family("mistral", "Mistral"),
    Family("qwen2", "Qwen 2, 2.5"),
    Family("qwen3", "Qwen 3"),
    Family("qwen3_moe", "Qwen 3 MoE", gguf=_NO_GGUF, served=_MERGED_ONLY, note=_EXPERTS),
    Family("qwen3_5", "Qwen 3.5", gguf=_NO_GGUF, packed=_LEAKS, note=_TEXT),
    Family("gemma2", "Gemma 2", gguf=_NO_GGUF),
    Family("gemma3", "Gemma 3 (4B and larger)", gguf=_NO_GGUF, note=_TEXT),
    Family("gemma3_text", "Gemma 3 (270M, 1B)", gguf=_NO_GGUF),
    Family("phi3", "Phi-3, Phi-4", gguf=_NO_GGUF),
    Family("gpt2", "GPT-2", gguf=_NO_GGUF, served="merged only (export.merged): vLLM serves no adapters on it"),
    Family("mixtral", "Mixtral", gguf=_NO_GGUF, served=_MERGED_ONLY, note=_EXPERTS),
    Family(
        "gpt_oss",
        "gpt-oss",
        gguf=_NO_GGUF,
        packed=_LEAKS,
        note="all-linear adapts attention; an MXFP4 base is unpacked to bfloat16 when it is loaded",
    ),
    Family(
        "granitemoehybrid",
        "Granite 4 (hybrid)",
        gguf=_NO_GGUF,
        packed=_LEAKS,
        note="all-linear adapts attention, Mamba and the shared feed-forward layers, not the experts",
    ),
    Family("smollm3", "SmolLM3", gguf=_NO_GGUF),
)
BY_TYPE = {family.model_type: family for family in FAMILIES}


def family(model_type: str | None) -> Family | None:
    """The row of a ``model_type``; None for one that is not tried here."""
    return BY_TYPE.get(model_type or "")
