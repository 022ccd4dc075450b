"""Whether an adapter's file belongs on a base: only LoRA matrices, and of the base's sizes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .textpart import text_part

Shape = tuple[int, ...]

_PARTS = (".lora_A.weight", ".lora_B.weight")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_QUANTISED_COPY = re.compile(r"-(?:unsloth-)?bnb-[48]bit$", re.IGNORECASE)
_MIRROR = "unsloth"
"""A publisher on the hub of other people's models under their own names."""


def whole_weights(names: Iterable[str]) -> list[str]:
    """Tensors of an adapter's file that replace weights of the base in place of adding to them.

    PEFT writes the embeddings whole when tokens were added, whatever ``modules_to_save`` says; vLLM passes over them
    without a word.
    """
    return sorted(name for name in names if "lora_" not in name.replace("lora_magnitude_vector", "lora_"))


def misfit(adapter: Mapping[str, Shape], base: Mapping[str, Shape], layers: int | None) -> str | None:
    """How the adapter's matrices show that it was trained on another model than the one whose files hold ``base``.

    Names are compared by their ends, as a wrapper may put others before them; what is not found is not judged, but for
    a layer beyond the base's number of ``layers``. None when nothing contradicts.
    """
    ends = _by_end(base)
    for name, shape in sorted(adapter.items()):
        part = next((part for part in _PARTS if name.endswith(part)), None)
        if part is None or len(shape) != 2:
            continue
        module = name.removesuffix(part)
        number = _LAYER.search(module)
        if layers is not None and number and int(number[1]) >= layers:
            return f"it has layer {number[1]}, the model has {layers} layers"
        found = ends.get(_end(module))
        # A is rank x inputs, B is outputs x rank.
        size = shape[1] if part == _PARTS[0] else shape[0]
        if found is not None and size not in found:
            return f"{_end(module)} is {size} wide in it, the model's is {'x'.join(map(str, found))}"
    return None


def _by_end(base: Mapping[str, Shape]) -> dict[str, Shape]:
    """Matrices by the part of their name from the layer's number on; names that stand for two sizes are left out."""
    found: dict[str, Shape | None] = {}
    for name, shape in base.items():
        if name.endswith(".weight") and len(shape) == 2 and "vision" not in name and "visual" not in name:
            end = _end(name.removesuffix(".weight"))
            found[end] = shape if found.get(end, shape) == shape else None
    return {end: shape for end, shape in found.items() if shape is not None}


def _end(module: str) -> str:
    number = _LAYER.search(module)
    return module[number.start() :].lstrip(".") if number else module.rpartition(".")[2]


def layers_of(config: Mapping[str, Any]) -> int | None:
    """Number of layers, where the ``config.json`` tells."""
    text = text_part(config)
    found = next((text[name] for name in ("num_hidden_layers", "n_layer", "num_layers") if name in text), None)
    return found if isinstance(found, int) else None


def original(name: str) -> str | None:
    """The hub's name of the model that ``name`` is a quantised copy of; None for one that is none."""
    plain = _QUANTISED_COPY.sub("", name)
    return plain if plain != name else None


def same_weights(recorded: str, served: str) -> bool:
    """Whether two hub names (``owner/model``) stand for one model: the same, or a mirror or quantised copy of it.

    An adapter fits all of them; what it is added to differs by the quantisation only.
    """
    owner, _, model = (original(recorded) or recorded).partition("/")
    other, _, theirs = (original(served) or served).partition("/")
    if model.lower() != theirs.lower():
        return False
    return owner == other or _MIRROR in {owner, other}
