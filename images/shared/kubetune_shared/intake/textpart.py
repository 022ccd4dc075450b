"""The language model's part of a ``config.json``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """``text_config`` of a wrapper of text and images, else ``config`` itself."""
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config
