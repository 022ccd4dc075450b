"""Which prompts run together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """Prompts by position, with the number of tokens each may be continued by."""

    members: tuple[int, ...]
    room: int


def batches(lengths: Sequence[int], size: int, wanted: int, context: int | None) -> list[Batch]:
    """Batches of up to ``size`` prompts with room for ``wanted`` tokens, the longest first.

    Longest first, because what does not fit into memory then fails at once, and because prompts of like length waste
    little on padding. A prompt that leaves less room in a ``context`` of so many tokens runs alone with what room
    there is; one that leaves none (or an empty one) is in no batch.
    """
    fit = [i for i, length in enumerate(lengths) if length and (context is None or length + wanted <= context)]
    tight = [i for i, length in enumerate(lengths) if context is not None and length < context < length + wanted]
    fit.sort(key=lambda i: (-lengths[i], i))
    together = [Batch(tuple(fit[start : start + size]), wanted) for start in range(0, len(fit), size)]
    alone = [Batch((i,), context - lengths[i]) for i in tight if context is not None and lengths[i]]
    return alone + together
