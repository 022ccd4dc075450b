"""Names of children and values of labels, deterministic and within Kubernetes' limits."""

from __future__ import annotations

import hashlib
import re

LIMIT = 63
"""Length of a DNS label and of a label's value (RFC 1123)."""
_HASH_LENGTH = 8


def _shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{text[: limit - _HASH_LENGTH - 1].rstrip('-._')}-{digest}"


def child_name(name: str, suffix: str = "") -> str:
    """``<name>-<suffix>``; beyond 63 characters the name is cut and a hash of the whole of it keeps it unique."""
    if not suffix:
        return _shorten(name, LIMIT)
    return f"{_shorten(name, LIMIT - len(suffix) - 1)}-{suffix}"


def label_value(text: str) -> str:
    """``text`` as a label's value: unusable characters become '-', longer texts are cut with a hash."""
    value = re.sub(r"[^-_.a-zA-Z0-9]", "-", text).strip("-_.")
    return _shorten(value, LIMIT)
