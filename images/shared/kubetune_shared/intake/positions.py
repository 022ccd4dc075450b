"""How many tokens a model has positions for, against the rows it is to learn from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .textpart import text_part

_LEARNED = frozenset({"wpe", "embed_positions", "position_embeddings"})
"""Names of tables with a row for each position: there is nothing behind their end."""
_LIMITS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")


@dataclass(frozen=True)
class Positions:
    """``limit``: tokens; ``learned``: whether the model cannot compute behind it, or only was never trained there."""

    limit: int
    learned: bool


def positions_of(config: Mapping[str, Any], tensors: Iterable[str]) -> Positions | None:
    """Of the model with this ``config.json`` and tensors of these names; None where the configuration says nothing."""
    text = text_part(config)
    limit = next((text[name] for name in _LIMITS if isinstance(text.get(name), int)), None)
    if limit is None or limit < 1:
        return None
    # Towers of images have positions of their own.
    own = (name for name in tensors if "vision" not in name and "visual" not in name)
    return Positions(limit, any(name.rpartition(".")[0].rpartition(".")[2] in _LEARNED for name in own))
