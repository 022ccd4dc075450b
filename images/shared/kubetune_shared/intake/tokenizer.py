"""A tokenizer's files: can they be read here, and does the model have a place for every token they give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .textpart import text_part

ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_READABLE = ("tokenizer.json", "vocab.json", "vocab.txt")


def sentencepiece_only(folder: Path) -> str | None:
    """What to do about a tokenizer that no library of this image reads; None when there is another file of it."""
    if any((folder / name).is_file() for name in _READABLE):
        return None
    found = next((name for name in _SENTENCEPIECE if (folder / name).is_file()), None)
    return found and (
        f"has its tokenizer as SentencePiece only ({found}), which this image has no library for; where sentencepiece "
        "is installed, load it with AutoTokenizer and save_pretrained, and upload the tokenizer.json that this makes"
    )


def unreadable(folder: Path, error: Exception) -> str:
    """What is wrong with the tokenizer in ``folder``, which raised ``error`` when transformers loaded it."""
    import tokenizers  # noqa: PLC0415 (a quarter of a second)

    path, release = folder / "tokenizer.json", f"tokenizers {tokenizers.__version__} of this image"
    only = sentencepiece_only(folder)
    if only:
        return only
    try:
        if path.is_file():
            tokenizers.Tokenizer.from_file(str(path))
    except Exception as broken:
        return (
            f"has a tokenizer.json that {release} cannot read ({_first(broken)}): a newer release wrote it, or it is "
            "damaged; save the tokenizer again with this release, or upload the file again"
        )
    return (
        f"has a tokenizer that cannot be loaded ({_first(error)}); save it again with save_pretrained, or upload its "
        "files again"
    )


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def vocabulary_rows(config: Mapping[str, Any]) -> int | None:
    """Tokens that the model of this ``config.json`` has an embedding for."""
    found = text_part(config).get("vocab_size", config.get("vocab_size"))
    return found if isinstance(found, int) and found > 0 else None


def outside(folder: Path, rows: int | None) -> str | None:
    """Which token that every row may need (begin, end, padding, unknown) has no place in an embedding of ``rows``
    tokens, and what to do; None when all have one, or it cannot be told."""
    if rows is None:
        return None
    settings, ids = _object(folder / "tokenizer_config.json"), _ids(folder)
    for role in ROLES:
        token = settings.get(role)
        token = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(token, str) and ids.get(token, 0) >= rows:
            return (
                f"has {token!r} as its {role}, which is token {ids[token]} where the embedding has {rows}; name "
                f"another {role} in tokenizer_config.json, or resize the embedding (resize_token_embeddings) and "
                "upload the model again"
            )
    return None


def _ids(folder: Path) -> dict[str, int]:
    """Of the added tokens, which are the ones that files of different saves disagree on."""
    added = _object(folder / "tokenizer.json").get("added_tokens")
    found = {
        one["content"]: one["id"] for one in added or () if isinstance(one, dict) and {"content", "id"} <= one.keys()
    }
    later = _object(folder / "tokenizer_config.json").get("added_tokens_decoder")
    for number, one in (later if isinstance(later, dict) else {}).items():
        if isinstance(one, dict) and str(number).isdigit() and "content" in one:
            found.setdefault(one["content"], int(number))
    return {**_numbers(_object(folder / "added_tokens.json")), **_numbers(found)}


def _numbers(found: Mapping[Any, Any]) -> dict[str, int]:
    return {token: number for token, number in found.items() if isinstance(token, str) and isinstance(number, int)}


def _object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
