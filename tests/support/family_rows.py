"""What becomes of each family that people use: trained, merged, as GGUF, served, packed, or refused and why.

``tests/trainer/test_families.py`` and ``test_families_published.py`` train and merge every one; ``tests/unit/
test_family_rows.py`` holds the other columns against the rules that the images go by.
"""

from __future__ import annotations

from dataclasses import dataclass

YES = ""
"""In place of a reason why not."""


@dataclass(frozen=True)
class Row:
    """One ``model_type``. Of each thing that can be done with it: YES, or why not and what to do instead."""

    architecture: str
    trained: str = YES
    merged: str = YES
    gguf: str = YES
    served: str = YES
    packed: str = YES
    note: str = ""


_NO_GGUF = "refused before training: only Llama, Mistral, Qwen 2 and 3 are converted; leave out export.gguf"
_MERGED_ONLY = (
    "an adapter on the experts merged only (export.merged), as vLLM takes fused experts apart in another order than "
    "peft; one on attention layers alone is served"
)
_EXPERTS = "all-linear adapts attention, fused experts and routers; peft has neither dropout nor DoRA for those"
_TEXT = "the text side is trained; vision tower and projector stay as they are"
_LEAKS = "refused (left out where a preset asks for it): packed rows would learn from each other"

ROWS = {
    "llama": Row("LlamaForCausalLM", note="SmolLM and SmolLM2 are Llamas"),
    "mistral": Row("MistralForCausalLM"),
    "qwen2": Row("Qwen2ForCausalLM"),
    "qwen3": Row("Qwen3ForCausalLM"),
    "qwen3_moe": Row("Qwen3MoeForCausalLM", gguf=_NO_GGUF, served=_MERGED_ONLY, note=_EXPERTS),
    "qwen3_5": Row("Qwen3_5ForConditionalGeneration", gguf=_NO_GGUF, packed=_LEAKS, note=_TEXT),
    "gemma2": Row("Gemma2ForCausalLM", gguf=_NO_GGUF),
    "gemma3": Row("Gemma3ForConditionalGeneration", gguf=_NO_GGUF, note=_TEXT),
    "gemma3_text": Row("Gemma3ForCausalLM", gguf=_NO_GGUF),
    "phi3": Row("Phi3ForCausalLM", gguf=_NO_GGUF),
    "gpt2": Row("GPT2LMHeadModel", gguf=_NO_GGUF, served="merged only (export.merged): vLLM serves no adapters on it"),
    "mixtral": Row("MixtralForCausalLM", gguf=_NO_GGUF, served=_MERGED_ONLY, note=_EXPERTS),
    "gpt_oss": Row(
        "GptOssForCausalLM",
        gguf=_NO_GGUF,
        packed=_LEAKS,
        note="all-linear adapts attention; the base must be an unquantised one",
    ),
    "granitemoehybrid": Row(
        "GraniteMoeHybridForCausalLM",
        gguf=_NO_GGUF,
        packed=_LEAKS,
        note="all-linear adapts attention, Mamba and the shared feed-forward layers, not the experts",
    ),
    "smollm3": Row("SmolLM3ForCausalLM", gguf=_NO_GGUF),
}
