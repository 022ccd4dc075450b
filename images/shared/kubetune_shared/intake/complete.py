"""Whether a model's files hold every tensor of its class, from what the class has and what the files have. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

Shape = tuple[int, ...]
SHOWN = 3

_WRAPPED = {
    "base_model.model.": "they were saved from inside an adapter (PEFT): call merge_and_unload() on it first",
    "_orig_mod.": "they were saved from a compiled model (torch.compile): save its _orig_mod",
    "module.": "they were saved from a wrapper for several GPUs: save its .module",
}
"""Prefix that a program puts before every name -> how that came and how to save without it."""


@dataclass(frozen=True)
class Compared:
    """What loading finds, under the names of the class: transformers has renamed what it knows how to rename."""

    missing: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    mismatched: tuple[tuple[str, Shape, Shape], ...] = ()
    """Name, shape in the files, shape in the class."""


def incomplete(compared: Compared, names: Collection[str]) -> str | None:
    """What is wrong with files that hold tensors of these ``names``, and what to do; None when nothing is missing.

    Tensors that the class does not have are no fault: other heads and towers are left where they are.
    """
    if compared.missing:
        wrapped = _prefix(names)
        if wrapped:
            return f"has the names of its weights behind {wrapped!r}: {_WRAPPED[wrapped]}, then save_pretrained"
        return (
            f"lacks {_some(sorted(compared.missing))}: the file was cut or saved with a part left out; upload the "
            "whole model again"
        )
    if compared.mismatched:
        name, found, wanted = min(compared.mismatched)
        more = f" ({len(compared.mismatched)} such weights)" if len(compared.mismatched) > 1 else ""
        return (
            f"has {name} as {_shape(found)}, config.json says {_shape(wanted)}{more}: one of the two is of another "
            "model; upload config.json and weights of the same"
        )
    return None


def _prefix(names: Collection[str]) -> str | None:
    """The wrapper that most of the names bear, even if it is not the first thing in them."""
    for prefix in _WRAPPED:
        marked = sum(name.startswith(prefix) or f".{prefix}" in name for name in names)
        if marked * 2 > len(names):
            return prefix
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more weights" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"
