"""What the installed transformers knows of classes. Needs no torch; importing it takes a second."""

from __future__ import annotations

import importlib
from functools import cache

from .classes import Tables


@cache
def tables() -> Tables:
    """transformers' own tables."""
    version = importlib.import_module("transformers").__version__
    configurations = importlib.import_module("transformers.models.auto.configuration_auto")
    # By its full name: transformers' lazy modules deny it where there is no torch, which it does not need.
    models = importlib.import_module("transformers.models.auto.modeling_auto")
    return Tables(
        version=str(version),
        known=frozenset(configurations.CONFIG_MAPPING_NAMES),
        causal=dict(models.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        masked=dict(models.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        encoder_decoder=dict(models.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        images=dict(models.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
        | dict(models.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES),
    )
