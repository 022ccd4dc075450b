"""Sentences put together from parts that others wrote."""

from __future__ import annotations

_ENDS = (".", "!", "?", "…", ":")


def sentences(*parts: str | None) -> str:
    """The parts as sentences behind one another: each ends with a full stop, none is empty."""
    return " ".join(_end(part.strip()) for part in parts if part and part.strip())


def capitalised(text: str) -> str:
    """``text`` with a capital letter in front, unless it begins with a name that is written otherwise."""
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    is_plain = first.isalpha() and first.islower()
    return text[:1].upper() + text[1:] if is_plain else text


def _end(text: str) -> str:
    # A full stop before closing quotes or brackets ends a sentence, too.
    return text if text.rstrip("\"')]").endswith(_ENDS) else f"{text}."
