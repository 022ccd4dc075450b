"""Which class a ``config.json`` asks for, and whether that is one that learns to write text here. Pure."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_ENDS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
"""Heads in the place of the one that writes text."""
CLOSE = 0.8
"""Similarity (difflib) from which on a known model_type is proposed in place of an unknown one."""


class Kind(enum.Enum):
    """What a base is."""

    CAUSAL = "causal language model"
    WRAPPER = "wrapper of text and images, of which the text side is tuned"
    IMAGES = "wrapper of text and images, whose text side has no class of its own"
    ENCODER_DECODER = "encoder-decoder"
    MASKED = "masked language model"
    CLASSIFIER = "classifier"
    UNKNOWN = "unknown model_type"
    CODE = "code of its own repository"
    UNNAMED = "no model_type"
    OTHER = "no language model"


@dataclass(frozen=True)
class Tables:
    """What the installed transformers knows: ``model_type`` -> name of a class, for each kind of head."""

    version: str
    known: Collection[str]
    """Every model_type with a configuration."""
    causal: Mapping[str, str]
    masked: Mapping[str, str]
    encoder_decoder: Mapping[str, str]
    images: Mapping[str, str]


@dataclass(frozen=True)
class Class:
    """The answer."""

    kind: Kind
    name: str = ""
    """The class's, where there is one."""
    problem: str = ""
    """Why it is not tuned or asked for text, and what to do; empty when it is."""


def class_of(config: Mapping[str, Any], tables: Tables) -> Class:
    """The class that ``config`` (a ``config.json``) stands for."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        return Class(
            Kind.UNNAMED,
            problem="its config.json has no model_type, so its class cannot be told; save the model again with "
            "save_pretrained, or add the model_type of its family (llama, qwen2, ...)",
        )
    if kind not in tables.known:
        return _unknown(config, kind, tables)
    stated = next(iter(config.get("architectures") or ()), "")
    return _without_text(config, kind, stated, tables) or _with_text(config, kind, stated, tables)


def _unknown(config: Mapping[str, Any], kind: str, tables: Tables) -> Class:
    if config.get("auto_map"):
        return Class(
            Kind.CODE,
            problem=f"its class ({kind}) is Python code of its own repository (auto_map), which is never run here; "
            "take a model that transformers has a class for",
        )
    near = difflib.get_close_matches(kind, list(tables.known), n=1, cutoff=CLOSE)
    meant = f"; did you mean {near[0]}?" if near else ""
    return Class(
        Kind.UNKNOWN,
        problem=f"its model_type {kind!r} is unknown to transformers {tables.version} of this image{meant or ';'} take "
        "a model of a family it has, or an image with a release that has it",
    )


def _without_text(config: Mapping[str, Any], kind: str, stated: str, tables: Tables) -> Class | None:
    """A class that does not write on from a prompt, by what it says of itself."""
    if stated.endswith(_ENDS):
        return Class(
            Kind.CLASSIFIER,
            stated,
            f"it is a {stated}, which has a classifier in place of the layer that writes text; take the language model "
            "it was made from",
        )
    decodes = bool(config.get("is_decoder")) or stated.endswith("ForCausalLM")
    if not decodes and (config.get("is_encoder_decoder") or kind in tables.encoder_decoder):
        name = stated or tables.encoder_decoder.get(kind, kind)
        return Class(
            Kind.ENCODER_DECODER,
            name,
            f"it is an encoder-decoder ({name}); only models that go on from their prompt (causal language models) are "
            "tuned and evaluated here",
        )
    masked = stated.endswith("ForMaskedLM") or (kind in tables.masked and not config.get("is_decoder"))
    if masked and not stated.endswith("ForCausalLM"):
        name = stated or tables.masked.get(kind, kind)
        return Class(
            Kind.MASKED,
            name,
            f"it is a masked language model ({name}), which fills gaps and does not write on from a prompt; take a "
            "causal language model",
        )
    return None


def _with_text(config: Mapping[str, Any], kind: str, stated: str, tables: Tables) -> Class:
    name = tables.causal.get(kind)
    if name:
        wraps = isinstance(config.get("text_config"), Mapping)
        return Class(Kind.WRAPPER if wraps else Kind.CAUSAL, name)
    name = tables.images.get(kind)
    if name:
        return Class(
            Kind.IMAGES,
            name,
            f"it is a model of text and images ({name}), whose text side transformers cannot load by itself; take a "
            "model of text only",
        )
    return Class(
        Kind.OTHER, stated or kind, f"it is no language model ({stated or kind}); take a causal language model"
    )
