"""Which class of transformers a model is loaded with, and what of it is the language model. Imports transformers.

Training, evaluation, merging and counting must agree on it: the names of the adapter's weights come of the class, and
servers look them up in the class that the model's own files name.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def auto_class(config: Any) -> Any:
    """AutoModelForImageTextToText for the ``config`` of a wrapper of text and images, else AutoModelForCausalLM.

    Of some wrappers (Qwen 3.5) the latter would load the language model alone, whose layers have other names than
    those in the files.
    """
    named = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    wrappers = {named} if isinstance(named, str) else set(named or ())
    return AutoModelForImageTextToText if wrappers & set(config.architectures or ()) else AutoModelForCausalLM


def towers(model: Any) -> list[str]:
    """Modules of a wrapper that are no part of its language model: vision, audio, projectors. Empty for others."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    path = next(name for name, module in model.named_modules() if module is decoder)
    found = []
    for depth in range(len(path.split(".")) if path else 0):
        parent = ".".join(path.split(".")[:depth])
        for name, module in model.get_submodule(parent).named_children():
            whole = f"{parent}.{name}" if parent else name
            on_the_way = path == whole or path.startswith(f"{whole}.")
            if not on_the_way and module is not head and any(True for _ in module.parameters()):
                found.append(whole)
    return found
