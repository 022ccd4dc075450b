"""A tokenizer.json as llama.cpp wants its vocabulary: tokens, scores and types by id. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gguf.constants import TokenType

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNRANKED = -1e6
"""Score of a SentencePiece token that no merge makes; lower than that of any merge."""


@dataclass
class Vocabulary:
    """Parallel lists, one entry per id."""

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)


def vocabulary(tokenizer: Mapping[str, Any], size: int) -> Vocabulary:
    """``size`` is the model's own number of embeddings, which may exceed the tokenizer's.

    Scores say which merge comes first in SentencePiece models, which keep no list of merges; others ignore them.
    """
    model = tokenizer["model"]
    names = {int(number): text for text, number in model["vocab"].items()}
    added = {int(entry["id"]): entry for entry in tokenizer.get("added_tokens") or ()}
    names |= {number: entry["content"] for number, entry in added.items()}
    ranks = _merge_ranks(model.get("merges") or ())
    done = Vocabulary()
    for number in range(size):
        text = names.get(number)
        done.tokens.append(f"[PAD{number}]" if text is None else text)
        done.scores.append(float(-ranks[text]) if text in ranks else _UNRANKED)
        done.types.append(int(_type(text, added.get(number), model)))
    return done


def _type(text: str | None, added: Mapping[str, Any] | None, model: Mapping[str, Any]) -> TokenType:
    if text is None:
        return TokenType.UNUSED
    if model.get("byte_fallback") and text == model.get("unk_token"):
        return TokenType.UNKNOWN
    if added is not None:
        return TokenType.CONTROL if added.get("special") else TokenType.USER_DEFINED
    if model.get("byte_fallback") and _BYTE.fullmatch(text):
        return TokenType.BYTE
    return TokenType.NORMAL


def _merge_ranks(merges: Any) -> dict[str | None, int]:
    ranks: dict[str | None, int] = {}
    for rank, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault("".join(pair), rank)
    return ranks


def space_prefix(tokenizer: Mapping[str, Any]) -> bool:
    """True when a SentencePiece tokenizer puts a space before a text."""
    return _mentions(tokenizer.get("normalizer"), "Prepend") or _metaspace_prefix(tokenizer.get("pre_tokenizer"))


def _mentions(part: Any, kind: str) -> bool:
    if not isinstance(part, Mapping):
        return False
    return part.get("type") == kind or any(_mentions(step, kind) for step in part.get("normalizers") or ())


def _metaspace_prefix(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "Metaspace":
        return bool(part.get("prepend_scheme", "always") != "never")
    return any(_metaspace_prefix(step) for step in part.get("pretokenizers") or ())
