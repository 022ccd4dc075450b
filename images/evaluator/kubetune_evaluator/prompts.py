"""From items to token ids, the way the trainer conditions its completions on them."""

from __future__ import annotations

from typing import Any

from .items import Item


def prompt_ids(tokenizer: Any, item: Item, template: str | None) -> list[int]:
    """A chat rendered up to the assistant's turn, or the bare prompt.

    ``template`` is the chat template in use. An end token that the tokenizer appends is taken off: after it, there
    would be nothing to continue.
    """
    if item.messages is not None:
        rendered = tokenizer.apply_chat_template(
            [dict(message) for message in item.messages],
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            chat_template=template,
        )
        return list(rendered["input_ids"])
    ids = list(tokenizer(item.prompt or "")["input_ids"])
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def cut(text: str, stops: tuple[str, ...]) -> str:
    """``text`` up to the first stop string."""
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
