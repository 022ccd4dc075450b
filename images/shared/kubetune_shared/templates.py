"""The chat templates that a model's or an adapter's folder brings along."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .intake.template import chosen

TOOL_USE = "tool_use"
"""Transformers' name of the template for chats with tools."""


def chat_template(folder: Path, *, tools: bool = False) -> str | None:
    """The Jinja text: of files where there are any, else of ``tokenizer_config.json``; None without one.

    ``tools`` takes the template for chats with tools, where the model has one of its own for them.
    """
    named = _named(folder)
    return (named.get(TOOL_USE) if tools else None) or chosen(named)


def template_names(folder: Path) -> list[str]:
    """What the templates are called."""
    return sorted(_named(folder))


def _named(folder: Path) -> dict[str, str]:
    return _files(folder) or _configured(folder)


def for_template(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row's messages as templates read them: some call an assistant's reasoning ``thinking``."""
    return [
        {**message, "thinking": message["reasoning_content"]} if "reasoning_content" in message else dict(message)
        for message in messages
    ]


def _files(folder: Path) -> dict[str, str]:
    places = {
        "default": folder / "chat_template.jinja",
        TOOL_USE: folder / f"additional_chat_templates/{TOOL_USE}.jinja",
    }
    return {name: place.read_text(encoding="utf-8") for name, place in places.items() if place.is_file()}


def _configured(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return {}
    if isinstance(found, list):
        # Models with several templates name them; the plain conversation is called default.
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
    else:
        named = {"default": found}
    return {name: text for name, text in named.items() if isinstance(name, str) and isinstance(text, str)}
