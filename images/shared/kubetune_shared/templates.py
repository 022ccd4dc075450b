"""The chat template that a model's or an adapter's folder brings along."""

from __future__ import annotations

import json
from pathlib import Path


def chat_template(folder: Path) -> str | None:
    """The Jinja text: ``chat_template.jinja``, else the default one of ``tokenizer_config.json``; None without one."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        pass
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(found, list):
        # Models with several templates name them; the plain conversation is called default.
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
