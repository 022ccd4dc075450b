"""From items to token ids, the way the trainer conditions its completions on them."""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.templates import for_template

from .items import Item


def prompt_ids(tokenizer: Any, item: Item, template: str | None) -> list[int]:
    """A chat rendered up to the assistant's turn, or the bare prompt.

    ``template`` is the chat template in use. An end token that the tokenizer appends is taken off: after it, there
    would be nothing to continue. Raises KubeTuneError (BAD_DATA, ChatTemplateRefused).
    """
    if item.messages is not None:
        messages = [dict(message) for message in item.messages]
        try:
            rendered = applied(tokenizer, messages, list(item.tools) or None, template, tokenize=True, return_dict=True)
        except (TemplateError, TypeError) as error:
            raise template_refused(item, error) from error
        return list(rendered["input_ids"])
    ids = list(tokenizer(item.prompt or "")["input_ids"])
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def applied(
    tokenizer: Any,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    template: str | None,
    **options: Any,
) -> Any:
    """The chat as the template writes it, for the assistant to go on."""
    return tokenizer.apply_chat_template(
        for_template(messages), tools=tools, chat_template=template, add_generation_prompt=True, **options
    )


def template_refused(item: Item, error: Exception) -> KubeTuneError:
    """The failure for a chat that the template does not accept."""
    return KubeTuneError(
        ExitCode.BAD_DATA, "ChatTemplateRefused", f"dataset line {item.line}: the chat template refuses it: {error}"
    )


def cut(text: str, stops: tuple[str, ...]) -> str:
    """``text`` up to the first stop string."""
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
