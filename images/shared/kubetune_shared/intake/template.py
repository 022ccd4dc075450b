"""What a chat template does that a training should know of, told from its text or by trying it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date

DATE = date(2024, 7, 26)
"""The day that dated templates are trained with: Llama 3's own where it cannot tell the day."""
SYSTEM, ASSISTANT_FIRST = "system", "assistant first"
_CALL = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


def is_dated(template: str | None) -> bool:
    """Whether it writes today's date into every chat, so that the same rows are other tokens tomorrow."""
    return bool(template) and "strftime_now" in (template or "")


def frozen(template: str, day: date = DATE) -> str:
    """The template with ``day`` in place of today: what is learned, and what a resumed run learns, stays the same.

    Formats are literals in the templates of all known models; a call with anything else is left as it is.
    """
    return _CALL.sub(lambda call: f"{call[1]}{day.strftime(call[2])}{call[1]}", template)


def chosen(named: Mapping[str, str]) -> str | None:
    """The template of plain chats among several with names: ``default``, else the only one there is."""
    if "default" in named:
        return named["default"]
    return next(iter(named.values())) if len(named) == 1 else None


def refusals(write: Callable[[list[dict[str, str]]], object]) -> frozenset[str]:
    """Which of SYSTEM and ASSISTANT_FIRST the template does not take: ``write`` renders a chat and raises when the
    template does.

    A template that cannot write even one question and its answer refuses something else, which its rows tell.
    """
    asked, answered = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}
    if not _takes(write, [asked, answered]):
        return frozenset()
    tried = {
        SYSTEM: [{"role": "system", "content": "Be brief."}, asked, answered],
        ASSISTANT_FIRST: [answered, asked, answered],
    }
    return frozenset(what for what, chat in tried.items() if not _takes(write, chat))


def refused_in(refused: Collection[str], roles: Sequence[str]) -> str | None:
    """What of a chat of these ``roles``, in their order, a template ``refused``, and what to do; None for nothing."""
    spoken = [role for role in roles if role not in {"system", "developer"}]
    if SYSTEM in refused and len(spoken) < len(roles):
        return (
            "it has a system message (its own, or spec.dataset.systemPrompt), which the base's chat template does not "
            "take; put that text into the first user message, or take a base whose template has a system role"
        )
    if ASSISTANT_FIRST in refused and spoken[:1] == ["assistant"]:
        return (
            "it begins with the assistant, which the base's chat template does not take; put a user message before it, "
            "leave the first message out, or take another base"
        )
    return None


def _takes(write: Callable[[list[dict[str, str]]], object], chat: list[dict[str, str]]) -> bool:
    try:
        write(chat)
    except Exception:
        return False
    return True
